#!/usr/bin/python3
"""Proves that nbdcopy moves a volume both ways over several connections at once without changing a byte, that holes
are reported and honest, and that nbdinfo finds every feature that is promised."""

import json
import os

from lab import Attachment, Lab, MIB, Region, same

SIZE = 256 * MIB

lab = Lab()
lab.needs("nbdcopy", "nbdinfo")
region = Region(lab)
region.create("copies", size=SIZE)
attachment = Attachment(region, "copies")
uri = attachment.uri

export = json.loads(lab.run("nbdinfo", "--json", uri).stdout)["exports"][0]
for feature, wanted in {"export-name": "copies", "export-size": SIZE, "is_read_only": False, "can_multi_conn": True,
                        "can_flush": True, "can_fua": True, "can_trim": True, "can_zero": True, "can_cache": True,
                        "block_size_minimum": 1, "block_size_preferred": 4096, "block_size_maximum": 32 * MIB}.items():
    lab.check(f"nbdinfo: {feature}", export.get(feature) == wanted, f"{export.get(feature)} instead of {wanted}")
lab.check("nbdinfo: base:allocation", "base:allocation" in export.get("contexts", []), export)
listed = json.loads(lab.run("nbdinfo", "--json", "--list", f"nbd+unix:///?socket={attachment.socket}").stdout)
lab.check("nbdinfo --list", [e["export-name"] for e in listed["exports"]] == ["copies"], listed)
refused = lab.run("nbdinfo", f"nbd+unix:///unknown?socket={attachment.socket}")
lab.check("an unknown export is refused", refused.returncode != 0)

image = lab.dir / "image"
with open(image, "wb") as out:
    out.truncate(SIZE)
    for n in range(24):
        out.seek(n * 10 * MIB + n * 37)
        out.write(os.urandom((n + 1) * 150_000))
for n, options in enumerate(([], ["--connections=4", "--requests=32"], ["--connections=8", "--request-size=32768"],
                             ["--connections=1", "--request-size=4096"], ["--synchronous"])):
    name = " ".join(options) or "plain"
    back = lab.dir / f"back{n}"
    lab.succeeds(f"blank for {name}", "nbdsh", "-u", uri, "-c",
                 f"for o in range(0, {SIZE}, 1 << 25): h.zero(1 << 25, o)")
    lab.succeeds(f"copy in: {name}", "nbdcopy", "--flush", *options, image, uri)
    lab.succeeds(f"copy out: {name}", "nbdcopy", *options, uri, back)
    lab.check(f"identical: {name}", same(image, back))
    back.unlink(missing_ok=True)

extents = json.loads(lab.run("nbdinfo", "--map", "--json", uri).stdout)
lab.check("the map covers the volume", sum(e["length"] for e in extents) == SIZE, extents[-3:])
holes = [e for e in extents if e["type"] & 1]
lab.check("holes are reported", sum(e["length"] for e in holes) > SIZE // 3, extents[:5])
with open(image, "rb") as original:
    def zero(extent):
        original.seek(extent["offset"])
        return not any(original.read(extent["length"]))
    lab.check("what is reported as zero is zero", all(zero(e) for e in extents if e["type"] & 2))

region.create("second", size=SIZE)
second = Attachment(region, "second")
lab.succeeds("volume to volume", "nbdcopy", "--flush", "--connections=4", uri, second.uri)
lab.succeeds("both are equal", "qemu-img", "compare", "-f", "raw", "-F", "raw", uri, second.uri)
lab.check("clean detach", attachment.stop() and second.stop(), attachment.log() + second.log())
region.stop()
lab.finish()
