#!/usr/bin/python3
"""Proves that what the commands report of a volume is what happened to it: the layout spreads volumelets over all
servers, heat counts the accesses where they fell, discard gives space back, a recorded trace lists the requests made,
and a driver inside the region (`up --attach`) serves like one outside."""

import json

from lab import Attachment, FORESHARD, Lab, MIB, Region

lab = Lab()
lab.needs("qemu-io", "nbdinfo")
region = Region(lab)
region.create("v", size="512M")

layout = region.json("volume", "layout", "v")
volumelets = layout["volumelets"]
lab.check("128 volumelets of 4 MiB", len(volumelets) == 128, len(volumelets))
servers = {replica["server"] for volumelet in volumelets for replica in volumelet["replicas"]}
lab.check("over all six servers", len(servers) == 6, servers)

trace = lab.dir / "trace.csv"
attachment = Attachment(region, "v", prefetch="off")


def qemu_io(*commands):
    words = [word for command in commands for word in ("-c", command)]
    done = lab.run("qemu-io", "-f", "raw", *words, attachment.uri)
    lab.check("qemu-io " + "; ".join(commands), done.returncode == 0, done.stdout + done.stderr)


recorder = lab.start(FORESHARD, "volume", "record", "v", trace, "--region", region.address)
lab.wait_for("the recording begins", trace.exists, recorder)
qemu_io("write -P 1 40M 1M", "write -P 2 80M 64k", "read -P 1 40M 64k", "read -P 2 80M 4k")
recorder.terminate()
recorder.wait(30)
lines = [line.split(",") for line in trace.read_text().splitlines() if line and line[0].isdigit()]
lab.check("the trace holds the requests", len(lines) >= 4, trace.read_text())

heat = region.json("volume", "heat", "v")
hot = sorted(heat, key=lambda volumelet: -(volumelet["reads"] + volumelet["writes"]))[:2]
lab.check("heat lies where the accesses fell", {v["offset"] // (4 * MIB) for v in hot} == {10, 20}, hot)


def used_bytes():
    return sum(server["used_bytes"] for server in region.json("server", "ls"))


used = used_bytes()
lab.check("used space is what was written, in chunks", 2 * MIB <= used <= 4 * MIB, used)
qemu_io("discard 40M 1M", "discard 80M 1M", "flush", "read -P 0 40M 1M")
lab.wait_for("discard gives the space back", lambda: used_bytes() < used)
driver = region.json("volume", "info", "v")["driver"]
lab.check("info counts requests and waits for nothing",
          driver["reads"] > 0 and driver["writes"] > 0 and driver["waiting_for"] == "", driver)
lab.check("clean detach", attachment.stop(), attachment.log())

socket = lab.dir / "inside.nbd"
inside = Region(lab, name="inside", options=[])
inside.create("v", size="64M")
inside.stop()
inside.command += ["--attach", "v", "--nbd", f"unix:{socket}"]
inside.start()
uri = f"nbd+unix:///v?socket={socket}"
lab.wait_for("the driver inside the region", lambda: lab.run("nbdinfo", "--size", uri).returncode == 0, inside.process)
done = lab.run("qemu-io", "-f", "raw", "-c", "write -P 5 4000k 4M", "-c", "read -P 5 4000k 4M", uri)
lab.check("serves", done.returncode == 0, done.stdout + done.stderr)
lab.check("clean stop with it", inside.stop(), inside.log())
lab.check("status as JSON", isinstance(json.loads(region.cli("server", "ls", "-o", "json").stdout), (list, dict)))
region.stop()
lab.finish()
