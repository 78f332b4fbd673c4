#!/usr/bin/python3
"""Proves that disk images come in and out unchanged: raw and qcow2, by `qemu-img convert` over NBD and by
`foreshard volume import` and `export`; each is compared with the original byte by byte."""

import os

from lab import Attachment, Lab, MIB, Region, same

SIZE = 96 * MIB + 512  # not a whole number of volumelets, nor of pages

lab = Lab()
lab.needs("qemu-img")
raw, qcow2 = lab.dir / "image.raw", lab.dir / "image.qcow2"
with open(raw, "wb") as out:
    out.truncate(SIZE)
    for offset, length in ((0, 5 * MIB), (8 * MIB - 700, 1400), (31 * MIB, 9 * MIB), (SIZE - 600, 600)):
        out.seek(offset)
        out.write(os.urandom(length))
lab.succeeds("a qcow2 image", "qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, qcow2)

region = Region(lab)
for kind, image in (("raw", raw), ("qcow2", qcow2)):
    region.create(f"by-{kind}", size=SIZE)
    attachment = Attachment(region, f"by-{kind}")
    lab.succeeds(f"convert {kind} in", "qemu-img", "convert", "-n", "-f", kind, "-O", "raw", image, attachment.uri)
    lab.succeeds(f"compare {kind}", "qemu-img", "compare", "-f", "raw", "-F", kind, attachment.uri, image)
    for out_kind in ("raw", "qcow2"):
        out = lab.dir / f"{kind}-out.{out_kind}"
        lab.succeeds(f"convert to {out_kind}", "qemu-img", "convert", "-f", "raw", "-O", out_kind, attachment.uri, out)
        back = out
        if out_kind == "qcow2":
            back = lab.dir / f"{kind}-back.raw"
            lab.run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", out, back)
        lab.check(f"{kind} to {out_kind} is identical", same(raw, back))
    lab.check(f"detach by-{kind}", attachment.stop(), attachment.log())

    done = region.cli("volume", "import", image, f"imported-{kind}", "--volumelet-size", "4M")
    lab.check(f"import {kind}", done.returncode == 0, done.stderr)
    info = region.json("volume", "info", f"imported-{kind}")
    lab.check(f"imported {kind} has the image's size", info["size_bytes"] == SIZE, info)
    out = lab.dir / f"exported-{kind}.raw"
    done = region.cli("volume", "export", f"imported-{kind}", out)
    lab.check(f"export {kind}", done.returncode == 0, done.stderr)
    lab.check(f"exported {kind} is identical", out.exists() and same(raw, out))
out = lab.dir / "exported.qcow2"
done = region.cli("volume", "export", "imported-raw", out)
lab.check("export as qcow2", done.returncode == 0, done.stderr)
lab.succeeds("the exported qcow2 equals the image", "qemu-img", "compare", "-f", "qcow2", "-F", "raw", out, raw)
done = region.cli("volume", "import", raw, "imported-raw")
lab.check("import over an existing volume is refused", done.returncode != 0 and "exists" in done.stderr, done.stderr)
region.stop()
lab.finish()
