#!/usr/bin/python3
"""Proves of the cache file (attach --cache-file), with real NBD clients: what left memory is read from it and not from
a server; what was written is never found as it was before, by one driver or by the next one after a kill; bytes that
were flipped in it are noticed and fetched from the servers; and files that cannot or must not be used are refused, with
the reason, before the volume is touched."""

import os
import random
import time

import nbd

import volatile_disk
from lab import Attachment, Lab, MIB, Region

volatile_disk.enter_namespaces()

from small_disk import SmallDisk

PAGE = 4096
SIZE = 256 * MIB
CACHE = 8 * MIB
SET = range(0, 4 * CACHE, PAGE)  # what is read twice

lab = Lab()
lab.needs("nbdinfo")
region = Region(lab, servers_per_zone=1)
region.create("v", size=str(SIZE))
path = lab.dir / "flash"


def attach(size="64M", file=path, **options):
    words = ["--cache-file", file, "--cache-file-size", size, "--cache-file-writes", "16G"]
    return Attachment(region, "v", cache=f"{CACHE // MIB}M", prefetch="off", options=words, **options)


def connect(attachment):
    client = nbd.NBD()
    client.connect_uri(attachment.uri)
    return client


def status():
    return region.json("volume", "info", "v")["driver"]


def server_reads():
    return sum(server["reads"] for server in region.json("server", "ls"))


def bytes_of(page, version):
    return random.Random(page * 1000 + version).randbytes(PAGE)


# ---- a set of four times the memory is read twice
attachment = attach()
client = connect(attachment)
content = {offset: bytes_of(offset // PAGE, 0) for offset in SET}
for first in range(0, 4 * CACHE, MIB):
    client.pwrite(b"".join(content[offset] for offset in range(first, first + MIB, PAGE)), first)
client.flush()
order = list(SET)


def read_pass(seed):
    random.Random(seed).shuffle(order)
    return sum(client.pread(PAGE, offset) != content[offset] for offset in order)


wrong = read_pass(1)
before, reads_before = status(), server_reads()
wrong += read_pass(2)
after, reads_after = status(), server_reads()
lab.check("every byte is right", wrong == 0, wrong)
lab.check("the second pass asks the servers for next to nothing", reads_after - reads_before < len(order) / 50,
          (reads_before, reads_after, after))
lab.check("because the file has it", after["flash_hits"] - before["flash_hits"] > len(order) / 2, after)
lab.check("the file's use is told",
          0 < after["flash_bytes"] <= after["flash_bytes_max"] == 63 * MIB and after["flash_memory_bytes"] < 3 * MIB
          and not after["flash_failed"], after)
lab.check("also to people", "cache file" in region.cli("volume", "info", "v").stdout)
again = client.pread(4 * MIB, 0)
lab.check("large reads, too", again == b"".join(content[offset] for offset in range(0, 4 * MIB, PAGE)))

# ---- bytes are flipped under the running driver
with open(path, "r+b") as file:
    for offset in range(MIB, 64 * MIB, PAGE):
        if offset // PAGE % 3 == 0:
            file.seek(offset + 1000)
            byte = file.read(1)
            file.seek(offset + 1000)
            file.write(bytes([byte[0] ^ 0x10]))
    os.fsync(file.fileno())
wrong = read_pass(3)
lab.check("damage in the file reaches nobody", wrong == 0, wrong)
lab.check("and is counted", status()["flash_mismatches"] > 100, status())
lab.check("and told once", attachment.log().count("not as it was written") == 1, attachment.log())

# ---- random writes, zeroes, trims and reads of any size, in flight together
chance = random.Random(4)
wrong = []
for step in range(6000):
    first = chance.choice(order) // PAGE
    pages = min(chance.choice((1, 1, 2, 5, 16)), 4 * CACHE // PAGE - first)
    offsets = [(first + i) * PAGE for i in range(pages)]
    kind = chance.random()
    if kind < 0.25:
        content.update({offset: bytes_of(offset // PAGE, step + 1) for offset in offsets})
        client.pwrite(b"".join(content[offset] for offset in offsets), first * PAGE)
    elif kind < 0.3:
        content.update(dict.fromkeys(offsets, bytes(PAGE)))
        (client.zero if kind < 0.275 else client.trim)(pages * PAGE, first * PAGE)
    elif client.pread(pages * PAGE, first * PAGE) != b"".join(content[offset] for offset in offsets):
        wrong.append((step, first, pages))
lab.check("mixed with writes, zeroes and trims, every read is right", not wrong, wrong[:5])
lab.check("while the file was in use", status()["flash_hits"] > after["flash_hits"] + 500, status())
client.shutdown()
if lab.run("fio", "--version").returncode == 0:
    lab.succeeds("fio verifies what it wrote", "fio", "--name=mixed", "--ioengine=nbd", f"--uri={attachment.uri}",
                 f"--offset={4 * CACHE}", f"--size={6 * CACHE}", "--rw=randrw", "--bsrange=4k-64k", "--iodepth=16",
                 "--norandommap=0", "--io_size=96M", "--verify=crc32c", "--verify_backlog=512", "--verify_fatal=1",
                 cwd=lab.dir)
else:
    lab.skip("fio", "not installed")

# ---- killed, others write, attached again with the same file
attachment.kill()
plain = Attachment(region, "v", cache="4M", prefetch="off", socket=lab.dir / "plain.nbd")
client = connect(plain)
for number, offset in enumerate(SET):
    if number % 2 == 0:
        content[offset] = bytes_of(offset // PAGE, 7000)
        client.pwrite(content[offset], offset)
client.shutdown()
lab.check("another driver detaches", plain.stop(), plain.log())
attachment = attach()
lab.check("the file is empty again", status()["flash_bytes"] == 0, status())
client = connect(attachment)
wrong = read_pass(5) + read_pass(6)
lab.check("nothing old is found after a kill", wrong == 0, wrong)
lab.check("though the file is used", status()["flash_hits"] > 0, status())
client.shutdown()


# ---- what is refused
def refused(what, says, file, size="64M", options=()):
    command = ["attach", "v", "--nbd", f"unix:{lab.dir}/refused.nbd", "--cache-file", file, "--cache-file-size", size]
    done = region.cli(*command, *options, seconds=60)
    lab.check(f"refused: {what}", done.returncode != 0 and says in done.stderr, (done.returncode, done.stderr))


region.create("other", size="64M")
busy = region.cli("attach", "other", "--nbd", f"unix:{lab.dir}/o.nbd", "--cache-file", path, "--cache-file-size", "64M")
lab.check("refused: a file in use", busy.returncode != 0 and "another driver uses it" in busy.stderr, busy.stderr)
lab.check("whose volume is free all the same", Attachment(region, "other").stop())
lab.check("clean detach", attachment.stop(), attachment.log())
foreign = lab.dir / "letter"
foreign.write_text("Dear disk,\n" * 1000)
refused("a file of somebody else", "not made by foreshard", foreign)
lab.check("which stays as it was", foreign.read_text() == "Dear disk,\n" * 1000)
refused("too small", "--cache-file-size", path, size="7M")
refused("a missing folder", "make it first", lab.dir / "absent" / "flash")
lab.check("which is not made", not (lab.dir / "absent").exists())
refused("a folder", "irectory", lab.dir)
refused("no memory before it", "--cache", path, options=["--cache", "0"])
refused("a file without a size", "--cache-file-size", path, size="0")

# ---- a disk that has no room for it, or loses it
if volatile_disk.absent():
    lab.skip("full disks", "not there: " + ", ".join(volatile_disk.absent()))
else:
    disk = SmallDisk(lab, size="64M")
    refused("more than the disk has", "choose a smaller --cache-file-size", disk.path / "flash", size="128M")
    lab.check("of which nothing stays", not (disk.path / "flash").exists())
    attachment = attach(size="32M", file=disk.path / "flash")
    disk.fill(leave=2 * MIB)
    client = connect(attachment)
    wrong = read_pass(7) + read_pass(8)
    lab.check("once it has its room, a full disk does not matter",
              wrong == 0 and status()["flash_hits"] > 0 and not status()["flash_failed"], (wrong, status()))
    client.shutdown()
    lab.check("clean detach", attachment.stop(), attachment.log())

    failing = SmallDisk(lab, size="128M", failing=True)
    attachment = attach(file=failing.path / "flash")
    client = connect(attachment)
    wrong = read_pass(9)
    failing.hang()
    wrong += read_pass(10)
    hung = status()
    lab.check("where a disk hangs, servers answer",
              wrong == 0 and hung["flash_overdue_reads"] > 0 and not hung["flash_failed"], (wrong, hung))
    failing.hang(False)
    lab.wait_for("the file to be used again",
                 lambda: read_pass(11) == 0 and status()["flash_hits"] > hung["flash_hits"])
    failing.hang()
    read_pass(12)
    lab.check("which can be seen", "hangs" in region.cli("volume", "info", "v").stdout and status()["flash_hangs"])
    client.shutdown()
    lab.check("clean detach while it hangs", attachment.stop(), attachment.log())
    refused("a file that its disk keeps", "its disk has not answered", failing.path / "flash")
    plain = Attachment(region, "v", cache="4M", prefetch="off")
    lab.check("who attaches without it can at once", plain.stop(), plain.log())
    attachment = attach(file=lab.dir / "another")
    lab.check("or with another one", attachment.stop(), attachment.log())
    failing.hang(False)

    # More than the disk's queue holds: where the kernel lets the driver's thread wait, it answers nobody any more.
    attachment = attach(file=failing.path / "flash")
    client = connect(attachment)
    wrong = read_pass(14) + read_pass(15)
    failing.hang()
    buffers = {offset: nbd.Buffer(PAGE) for offset in chance.sample(order, 2000)}
    for offset, buffer in buffers.items():
        client.aio_pread(buffer, offset)
    deadline = time.monotonic() + 30
    while client.aio_in_flight() and time.monotonic() < deadline:
        client.poll(100)
    lab.check("two thousand reads at once are all answered", client.aio_in_flight() == 0, client.aio_in_flight())
    if client.aio_in_flight():
        failing.hang(False)  # or the driver cannot even be killed
    wrong += sum(bytes(buffer.to_bytearray()) != content[offset] for offset, buffer in buffers.items())
    lab.check("by servers, as they should be", wrong == 0 and status()["flash_hangs"], wrong)
    client.shutdown()
    lab.check("clean detach while all of them hang", attachment.stop(), attachment.log())
    failing.hang(False)

    attachment = attach(file=failing.path / "flash")
    client = connect(attachment)
    wrong = read_pass(12)
    failing.trigger.touch()
    wrong += read_pass(13)
    after = status()
    lab.check("a disk that fails costs no client anything", wrong == 0 and after["flash_failed"], (wrong, after))
    lab.check("the log names the file", str(failing.path / "flash") in attachment.log(), attachment.log())
    lab.check("and the status says so", "failed" in region.cli("volume", "info", "v").stdout)
    client.shutdown()
    failing.trigger.unlink()
    lab.check("clean detach", attachment.stop(), attachment.log())
lab.check("clean stop", region.stop(), region.log())
lab.finish()
