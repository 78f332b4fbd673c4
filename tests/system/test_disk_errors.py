#!/usr/bin/python3
"""Proves what happens when a disk fails under a region: errors of the device, and a file system that turns read-only.
Clients wait or get EIO as they were told to, nothing acknowledged is lost, nothing wrong is served; with the disk well
again the region goes on by itself, or after a restart where the file system itself is gone. A folder that cannot be
written is refused with its name."""

import os
import time

import volatile_disk
from lab import Attachment, FORESHARD, Lab, MIB, Region

volatile_disk.enter_namespaces()

from ledger import Ledger
from pages import PAGE
from small_disk import SmallDisk

CHUNK = MIB // PAGE  # in pages

lab = Lab()
lab.needs("nbdinfo")

# ---- a folder that cannot be written, or is not one
closed = lab.dir / "closed"
closed.mkdir(mode=0o755)
(lab.dir / "file").write_text("precious")
cases = [("a file in place of the folder", [], lab.dir / "file"), ("a folder that nobody can make", [], "/proc/region")]
if os.geteuid() == 0:
    as_nobody = ["setpriv", "--reuid", "65534", "--clear-groups"]
    os.chmod(lab.dir, 0o755)
    cases.append(("a folder of somebody else's", as_nobody, closed))
for what, prefix, folder in cases:
    done = lab.run(*prefix, FORESHARD, "up", "--dir", folder, seconds=20)
    lab.check(f"{what} is refused by name", done.returncode in (1, 2, 3) and str(folder) in done.stderr,
              f"rc {done.returncode}: {done.stderr}")
lab.check("and left alone", (lab.dir / "file").read_text() == "precious" and not list(closed.iterdir()))

if volatile_disk.absent():
    lab.skip("failing disks", "not there: " + ", ".join(volatile_disk.absent()))
    lab.finish()


def region_on(disk, name):
    region = Region(lab, name=str(disk.path / name), zones="a", servers_per_zone=2)
    region.create("v", size="1G")
    return region


def fill(ledger):
    for n in range(200):
        ledger.write(n * 100)
    ledger.flush()


# ---- EIO of the device, for a while
disk = SmallDisk(lab, failing=True)
region = region_on(disk, "eio")
patient = Attachment(region, "v", cache="4M", socket=lab.dir / "patient.nbd")
region.create("w", size="1G")
hasty = Attachment(region, "w", cache="4M", socket=lab.dir / "hasty.nbd", options=["--io-timeout", "1s"])
ledgers = [Ledger(patient), Ledger(hasty)]
for ledger in ledgers:
    fill(ledger)
for number in range(2):
    disk.trigger.touch()
    errors = {ledgers[1].write(n * 100) for n in range(3)} | {ledgers[1].flush()}
    lab.check("with --io-timeout, writes and flushes get EIO", "EIO" in errors and errors <= {"EIO", ""}, errors)
    time.sleep(0.5 * number)
    disk.trigger.unlink()
    begin = time.monotonic()
    lab.check("without it they wait, and go on by themselves",
              ledgers[0].write(700 + number) == "" and ledgers[0].flush() == "" and time.monotonic() - begin < 30)
    lab.wait_for("the other driver goes on, too", lambda: ledgers[1].write(500) == "" and ledgers[1].flush() == "",
                 hasty.process)
    for ledger in ledgers:
        lab.check("nothing acknowledged is lost, nothing wrong is read", not (wrong := ledger.wrong()), wrong[:3])
servers = region.json("server", "ls")
lab.check("the servers' loss counters tell of it", sum(server["loss"] for server in servers) > 2, servers)
scrub = region.cli("scrub", "--all", "--rate", "1G")
lab.check("a scrub finds nothing", scrub.returncode == 0, scrub.stdout + scrub.stderr)

disk.trigger.touch()
done = region.cli("volume", "create", "x", "--size", "1G", seconds=3)
lab.check("metadata that cannot be written is waited for or says so", done.returncode in (1, 5, 124), done.stderr)
disk.trigger.unlink()
lab.wait_for("and is taken when it can", lambda: region.cli("volume", "rm", "x").returncode in (0, 3), region.process)
for attachment in (patient, hasty):
    lab.check("clean detach", attachment.stop(), attachment.log())
lab.check("clean stop", region.stop(), region.log())

# ---- the file system turns read-only
disk = SmallDisk(lab)
region = region_on(disk, "readonly")
# By this name its driver's own socket lies elsewhere and does not keep the file system busy.
(lab.dir / "readonly.sock").symlink_to(region.address.removeprefix("unix:"))
region.address = f"unix:{lab.dir}/readonly.sock"
attachment = Attachment(region, "v", cache="4M", socket=lab.dir / "readonly.nbd")
ledger = Ledger(attachment)
fill(ledger)
for n in range(50):  # acknowledged, not flushed
    ledger.write(30000 + n)
disk.turn_read_only()
region.cli("volume", "create", "x", "--size", "1G", seconds=3)
region.cli("volume", "create", "y", "--size", "1G", seconds=3)
lab.wait_for("the log says why", lambda: "Read-only file system" in region.log(), region.process)
lab.check("the region's process lives", region.process.poll() is None, region.log())
lab.check("it ends when told to, with an error", not region.stop() and region.process.returncode in (1, 7),
          region.log())
disk.unmount()
disk.check()
disk.mount()
region.start()
lab.check("repaired and mounted again: the driver goes on", ledger.write(1) == "" and ledger.flush() == "")
lab.check("nothing acknowledged is lost", not (wrong := ledger.wrong()), wrong[:3])
lab.check("clean detach", attachment.stop(), attachment.log())
lab.check("clean stop", region.stop(), region.log())
lab.finish()
