#!/usr/bin/python3
"""Proves that what is wrong with a folder, a file or a half-done import is told in plain words and leaves everything
as it was: a folder half deleted or of another region's servers, a newer format, a killed import, too few open files, a
clock that jumps; and that attach --force takes over a driver that is alive."""

import os
import shutil
import struct
import time

from lab import Attachment, FORESHARD, Lab, MIB, Region, tail

lab = Lab()
lab.needs("nbdinfo", "qemu-io")
region = Region(lab, zones="a", servers_per_zone=2)


def refuses_to_start(what, *says):
    done = lab.run(*region.command, seconds=20)
    lab.check(f"{what}: refused in plain words", done.returncode in (1, 4, 7) and all(s in done.stderr for s in says),
              f"rc {done.returncode}: {done.stderr}")


def pattern(attachment, *commands):
    words = [word for command in commands for word in ("-c", command)]
    done = lab.run("qemu-io", "-f", "raw", *words, attachment.uri)
    return done.returncode == 0 and "failed" not in done.stdout


# ---- a killed import: not to be attached; run again, or removed
image = lab.dir / "image.raw"
image.write_bytes(os.urandom(64 * MIB))
for name in ("again", "away"):
    importing = lab.start(FORESHARD, "volume", "import", image, name, "--region", region.address)
    lab.wait_for("the import has begun",
                 lambda n=name: region.cli("volume", "info", n).returncode == 0 or importing.poll() is not None)
    importing.kill()
    importing.wait()
    if region.json("volume", "info", name)["state"] == "ready":
        lab.skip(f"killed import {name}", "it was through before")
        continue
    done = region.cli("attach", name, "--nbd", f"unix:{lab.dir}/no.nbd")
    lab.check("what is not whole is not attached, and what to do is told",
              done.returncode == 4 and "again" in done.stderr and "volume rm" in done.stderr, done.stderr)
done = region.cli("volume", "import", image, "again")
lab.check("an import can be run again", done.returncode in (0, 4), done.stderr)
lab.check("or removed", region.cli("volume", "rm", "away").returncode == 0)

# ---- attach --force: the first driver ends and changes nothing any more
region.create("v", size="64M")
first = Attachment(region, "v", socket=lab.dir / "first.nbd")
lab.check("the first driver serves", pattern(first, "write -P 1 0 8M", "flush"))
second = Attachment(region, "v", socket=lab.dir / "second.nbd", options=["--force"])
lab.check("--force takes the volume over", pattern(second, "read -P 1 0 8M", "write -P 2 0 4M", "flush"))
lab.wait_for("the first driver ends", lambda: first.process.poll() is not None or not pattern(first, "write -P 3 0 4k"))
first.process.wait(30)
lab.check("with status 4, and says why", first.process.returncode == 4 and "newer epoch" in first.log(), first.log())
lab.check("and has changed nothing", pattern(second, "read -P 2 0 4M", "read -P 1 4M 4M"))
lab.check("clean detach", second.stop(), second.log())
lab.check("clean stop", region.stop(), region.log())

# ---- a newer format: the number that every superblock begins with
superblock = region.dir / "server-1" / "superblock"
kept = superblock.read_bytes()
newer = bytearray(kept)


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


lab.check("this is how checksums are made", crc32c(b"123456789") == 0xe3069283)
for copy in (0, 4096):
    page = newer[copy:copy + 4096]
    page[8:16] = struct.pack("<II", 99, 0)
    page[12:16] = struct.pack("<I", crc32c(bytes(page)))
    newer[copy:copy + 4096] = page
superblock.write_bytes(newer)
refuses_to_start("a newer format", "newer", "99")
lab.check("nothing is touched", superblock.read_bytes() == bytes(newer))
superblock.write_bytes(kept)

# ---- half deleted: without the superblock, and without the metadata
superblock.rename(lab.dir / "superblock")
refuses_to_start("a superblock that is gone", "superblock")
(lab.dir / "superblock").rename(superblock)

# ---- the servers' folders of another region
other = Region(lab, name="other", zones="a", servers_per_zone=2)
lab.check("clean stop", other.stop(), other.log())
shutil.move(region.dir / "server-1", lab.dir / "mine")
shutil.copytree(other.dir / "server-1", region.dir / "server-1")
region.start()
done = lab.run(FORESHARD, "attach", "v", "--nbd", f"unix:{lab.dir}/third.nbd", "--region", region.address, seconds=60)
lab.check("another region's disk is not taken for the volume's, and what to do is told",
          done.returncode not in (0, 124) and "put the right disk back" in done.stderr,
          f"rc {done.returncode}: {done.stderr}")
lab.check("clean stop", region.stop(), region.log())
shutil.rmtree(region.dir / "server-1")
shutil.move(lab.dir / "mine", region.dir / "server-1")

# ---- too few open files
limited = lab.run("prlimit", "--nofile=24:24", *region.command, seconds=20)
lab.check("too few open files are named", limited.returncode == 1 and "Too many open files" in limited.stderr,
          limited.stderr)
region.start()
attachment = Attachment(region, "v", socket=lab.dir / "fourth.nbd")
lab.check("with the right folder all is there", pattern(attachment, "read -P 2 0 4M", "read -P 1 4M 4M"))
limits = open(f"/proc/{region.process.pid}/limits", encoding="utf-8").read()
soft, hard = next(line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files"))
lab.check("the region has raised its limit of open files", soft == hard, limits)
lab.check("clean detach", attachment.stop(), attachment.log())
lab.check("clean stop", region.stop(), region.log())

# ---- a clock that jumps by years, both ways: leases and grants run by the monotonic clock
library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
if not os.path.exists(library):
    lab.skip("a clock that jumps", "not installed: libfaketime")
else:
    clock = lab.dir / "clock"
    clock.write_text("+0")
    os.environ.update(LD_PRELOAD=library, FAKETIME_TIMESTAMP_FILE=str(clock), FAKETIME_DONT_FAKE_MONOTONIC="1",
                      DONT_FAKE_MONOTONIC="1", FAKETIME_NO_CACHE="1")
    region.start()
    attachment = Attachment(region, "v", socket=lab.dir / "clock.nbd")
    del os.environ["LD_PRELOAD"]
    for jump in ("+400d", "-400d", "+0"):
        clock.write_text(jump)
        lab.check(f"{jump}: it serves on", pattern(attachment, "write -P 5 0 4M", "flush", "read -P 5 0 4M"))
        time.sleep(3.5)  # longer than the driver's lease
        done = region.cli("attach", "v", "--nbd", f"unix:{lab.dir}/no.nbd")
        lab.check(f"{jump}: the driver is alive and keeps its volume", done.returncode == 4, done.stderr)
    lab.check("the clock was another one", "waits" not in tail(attachment.process.log), attachment.log())
    lab.check("clean detach", attachment.stop(), attachment.log())
    lab.check("clean stop", region.stop(), region.log())
lab.finish()
