#!/usr/bin/python3
"""Proves that a process that runs out of file descriptors while it works serves on what it has open, says what it
lacks in a line or two, does not spin, and goes on by itself when the limit is raised: `attach` with new clients and
with a region that comes back, `up` with new clients, with the first data of its stores, and under a load that makes
its metadata and indexes want files. Nothing acknowledged is lost by it."""

import os
import resource
import time

from lab import Attachment, FORESHARD, Lab, MIB, Region
from stamps import Stamps

lab = Lab()
lab.needs("nbdinfo", "qemu-io")
try:
    import nbd
except ImportError:
    lab.skip(lab.name, "not installed: python3-libnbd")
    lab.finish()
SIZE = 256 * MIB
WATCHED_SECONDS = 3


def limit(process, files):
    """At most so many descriptors from now on; those open already stay. None: as many as it may have."""
    hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (hard if files is None else files, hard))


def cpu_seconds(process):
    fields = open(f"/proc/{process.pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def does_not_spin(what, process):
    """While somebody waits for it in vain: most of the time it must be idle."""
    before = cpu_seconds(process)
    time.sleep(WATCHED_SECONDS)
    used = cpu_seconds(process) - before
    lab.check(f"{what}: it does not spin", used < WATCHED_SECONDS / 5, f"{used} s of CPU in {WATCHED_SECONDS} s")


def lines(process):
    return [line for line in process.log.read_text(errors="replace").splitlines() if "Too many open files" in line]


def tells(what, process, before, most=5):
    fresh = lines(process)[before:]
    lab.check(f"{what}: told, in a line or two", 1 <= len(fresh) <= most, f"{len(fresh)} lines: {fresh[-3:]}")


def connected(uri):
    handle = nbd.NBD()
    handle.connect_uri(uri)
    return handle


def completed():
    client.poll(50)
    return client.aio_command_completed(writing)


# ---- the first data of fresh stores finds no descriptor: the writer waits, nobody else does
region = Region(lab, zones="a", servers_per_zone=2)
region.create("v", size=SIZE)
attachment = Attachment(region, "v")
client = connected(attachment.uri)
limit(region.process, 10)
before = len(lines(region.process))
writing = client.aio_pwrite(b"\1" * 65536, 0)
does_not_spin("a first write without descriptors", region.process)
lab.check("the write waits", not completed())
tells("a first write without descriptors", region.process, before)
# The accept that was under way before the limit still lets one in.
waits = [region.cli("server", "ls", seconds=3).returncode != 0 for _ in range(2)]
lab.check("a new client of the region waits", waits[-1], waits)
limit(region.process, None)

lab.wait_for("the write goes on by itself", completed, attachment.process)
lab.check("and has been done", client.pread(65536, 0) == b"\1" * 65536)
lab.check("a new client is served", region.cli("server", "ls").returncode == 0)

# ---- attach: new clients wait in line, old ones are served, and the limit raised is all that is needed
limit(attachment.process, 8)
before = len(lines(attachment.process))
last = connected(attachment.uri)  # by the accept that was under way before the limit
waiting = lab.start("nbdinfo", "--size", attachment.uri)
does_not_spin("attach without descriptors", attachment.process)
tells("attach without descriptors", attachment.process, before)
lab.check("the newcomer waits", waiting.poll() is None)
client.pwrite(b"\2" * 65536, 1 << 20, nbd.CMD_FLAG_FUA)
lab.check("who is in is served", client.pread(65536, 1 << 20) == b"\2" * 65536)
limit(attachment.process, None)
lab.check("the newcomer is let in", waiting.wait(60) == 0, waiting.log.read_text())
last.shutdown()

# ---- attach: the region comes back, and there is no descriptor to reach it
limit(attachment.process, 8)
region.kill()
before = len(lines(attachment.process))
region.start()
writing = client.aio_pwrite(b"\3" * 65536, 2 << 20)
does_not_spin("a region not reached for want of descriptors", attachment.process)
lab.check("the write waits", not completed())
tells("a region not reached for want of descriptors", attachment.process, before)
limit(attachment.process, None)
lab.wait_for("the write goes on by itself", completed, attachment.process)
for number in (1, 2, 3):
    offset = (number - 1) << 20
    lab.check(f"what was written is there ({number})", client.pread(65536, offset) == bytes([number]) * 65536)
client.shutdown()

# ---- up under load, again and again without descriptors: nothing acknowledged is lost
region.create("loaded", size=SIZE)
loaded = Attachment(region, "loaded")
stamps = Stamps(loaded.uri, SIZE, seed=7)
stamps.start()
for turn in range(4):
    time.sleep(1)
    limit(region.process, 10)
    time.sleep(1)
    made = region.cli("volume", "create", f"w{turn}", "--size", "64M", seconds=2)
    limit(region.process, None)
    lab.wait_for("the region serves", lambda: region.cli("server", "ls", seconds=5).returncode == 0, region.process)
ended = stamps.stop()
stamps.verify(strict=True)
lab.check("the load saw no error and nothing old", ended and not stamps.errors and not stamps.violations,
          f"{stamps.operations} operations; {stamps.errors[:3]}; {stamps.violations[:5]}")
region.kill()
region.start()
stamps.verify(strict=True)
lab.check("nor after a kill -9 of the region", not stamps.violations, stamps.violations[:5])
for one in (attachment, loaded):
    lab.check("clean detach", one.stop(), one.log())
lab.check("clean stop", region.stop(), region.log())
lab.finish()
