#!/usr/bin/python3
"""Proves what happens when space runs out: a write that needs a new place gets ENOSPC and changes nothing; overwrites,
reads, trims, and the life of volumes go on, by a reserve that is kept back on the disk; and when others have taken that
too, everything waits and goes on by itself once there is space again. Nothing acknowledged is ever lost."""

import time

import volatile_disk
from lab import Attachment, Lab, MIB, Region

volatile_disk.enter_namespaces()

from ledger import Ledger
from pages import PAGE
from small_disk import SmallDisk

CHUNK = MIB // PAGE  # in pages

lab = Lab()
lab.needs("nbdinfo")
if volatile_disk.absent():
    lab.skip("full disks", "not there: " + ", ".join(volatile_disk.absent()))
    lab.finish()


def write_until_full(ledger, first_chunk, chunks):
    """A page in each of many chunks; how many were taken, and the errors."""
    errors = [ledger.write((first_chunk + n) * CHUNK + n % CHUNK) for n in range(chunks)]
    return errors.count(""), {error for error in errors if error}


def goes_on(what, ledger, region):
    lab.check(f"{what}: overwrites go on", ledger.write(0, 16) == "" and ledger.flush() == "")
    lab.check(f"{what}: volumes are created and removed",
              all(region.cli(*words).returncode == 0 for words in
                  (("volume", "create", "other", "--size", "1G"), ("volume", "rm", "other"))))
    lab.check(f"{what}: everything reads right", not (wrong := ledger.wrong()), wrong[:3])


# ---- what servers may store is used up
region = Region(lab, zones="a", servers_per_zone=2, options=["--capacity", "24M"])
region.create("v", size="1G")
attachment = Attachment(region, "v", cache="4M")
ledger = Ledger(attachment)
taken, errors = write_until_full(ledger, 0, 100)
lab.check("both servers take what they may", 40 <= taken <= 48, taken)
lab.check("then writes get ENOSPC", errors == {"ENOSPC"}, errors)
goes_on("capacity", ledger, region)
lab.check("trims are taken", ledger.trim(0, 20 * CHUNK) == "" and ledger.flush() == "")
lab.wait_for("what was trimmed is given out again", lambda: ledger.write(200 * CHUNK) == "", attachment.process)
lab.check("all of it reads right", not (wrong := ledger.wrong()), wrong[:3])
lab.check("clean detach", attachment.stop(), attachment.log())
lab.check("volumes are removed", region.cli("volume", "rm", "v").returncode == 0)
lab.wait_for("and their space is free", lambda: region.json("server", "ls")[0]["used_bytes"] == 0)
lab.check("clean stop", region.stop(), region.log())

# ---- the file system is used up, but for the reserve
disk = SmallDisk(lab)
region = Region(lab, name=str(disk.path / "region"), zones="a", servers_per_zone=2)
region.create("v", size="4G")
attachment = Attachment(region, "v", cache="4M", socket=lab.dir / "full.nbd")
ledger = Ledger(attachment)
capacity = sum(server["capacity_bytes"] for server in region.json("server", "ls"))
lab.check("the capacity leaves the reserve free", capacity <= disk.free_bytes() - 256 * MIB, capacity)
taken, errors = write_until_full(ledger, 0, 50)
lab.check("there is space", taken == 50, errors)
disk.fill(leave=1 * MIB)
taken, errors = write_until_full(ledger, 100, 400)
lab.check("what the files have no room for gets ENOSPC", errors == {"ENOSPC"} and taken < 400, (taken, errors))
goes_on("only the reserve", ledger, region)

# ---- the reserve, too, is taken by others: whatever must write to the index fails, and is opened anew until it can
disk.fill()
begin = time.monotonic()
for number in range(100):
    done = region.cli("volume", "create", f"large{number}", "--size", "16G", "--volumelet-size", "1M")
    if done.returncode != 0 or time.monotonic() - begin > 60:
        break
lab.check("nothing free at all: metadata says so", done.returncode in (1, 5, 6), done.returncode)
lab.check("with the reason", "o space" in done.stderr, done.stderr)
ledger.trim(20 * CHUNK, 10 * CHUNK)
disk.empty()
lab.wait_for("with space, it serves again by itself", lambda: region.cli("volume", "ls").returncode == 0,
             region.process)
lab.wait_for("writes are taken again", lambda: ledger.write(3000 * CHUNK) == "", attachment.process)
goes_on("space again", ledger, region)
scrub = region.cli("scrub", "--all", "--rate", "1G")
lab.check("a scrub finds nothing", scrub.returncode == 0, scrub.stdout + scrub.stderr)
lab.check("clean detach", attachment.stop(), attachment.log())
lab.check("clean stop", region.stop(), region.log())
region.start()
attachment = Attachment(region, "v", cache="4M", socket=lab.dir / "again.nbd")
ledger.attachment = attachment
ledger.connect()
goes_on("after a restart", ledger, region)
lab.check("clean detach", attachment.stop(), attachment.log())
lab.check("clean stop", region.stop(), region.log())
lab.finish()
