#!/usr/bin/python3
"""Proves that a region whose metadata is damaged on the disk, or older than it was, does not start, says so in plain
words, and deletes nothing: flipped bits within and at the end of its log, a log that is cut or missing, a flipped bit
in a table, an old copy of the folder, no folder at all; after a clean stop and after kill -9. With the right folder put
back all is there; with the mark removed an old one is served."""

import fcntl
import random
import shutil
import struct
import threading

import nbd

from lab import Attachment, Lab, MIB, Region

SIZE = 8 * MIB

lab = Lab()
lab.needs("nbdinfo")
region = Region(lab, zones="a", servers_per_zone=2)
folder, mark = region.dir / "meta", region.dir / "meta-revision"
content = random.Random(1).randbytes(SIZE)


def disk(write=False):
    """Whether the volume's content is what it was."""
    attachment = Attachment(region, "disk")
    client = nbd.NBD()
    client.connect_uri(attachment.uri)
    if write:
        client.pwrite(content, 0)
    right = client.pread(SIZE, 0) == content
    client.shutdown()
    return attachment.stop() and right


def refused(what, *says):
    for again in ("", ", a second time too"):
        done = lab.run(*region.command, seconds=60)
        lab.check(f"{what}: refused in plain words{again}",
                  done.returncode == 7 and all(one in done.stderr for one in says) and "deleted" not in done.stderr,
                  f"rc {done.returncode}: {done.stderr}")


def kept(what, *keys):
    """What RocksDB made of a damaged log it may have deleted; the log as it was found is still there."""
    logs = b"".join(path.read_bytes() for path in sorted((region.dir / "meta-logs").glob("*.log")))
    lab.check(f"{what}: the log as it was found is kept", all(key in logs for key in keys), len(logs))


def log_with(key):
    """The log that holds the key, and where."""
    found = [(path, path.read_bytes().find(key)) for path in sorted(folder.glob("*.log"))]
    return next((path, at) for path, at in found if at >= 0)


def flip(path, at):
    content_of = bytearray(path.read_bytes())
    content_of[at] ^= 4
    path.write_bytes(content_of)


def restore(from_folder):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(from_folder, folder)


# ---- an old copy, of before there was the second volume; and all of it, in a log
region.create("disk", size=SIZE)
lab.check("a volume is written", disk(write=True))
lab.check("clean stop", region.stop(), region.log())
shutil.copytree(folder, lab.dir / "old")
region.start()
region.create("late", size="64M")
lab.check("clean stop", region.stop(), region.log())
shutil.copytree(folder, lab.dir / "whole")
log, first = log_with(b"k/volumes/late")
LOST = ("its log is damaged", "Put the right one back", "meta-revision")

flip(log, first + 3)
refused("a flipped bit in the log", *LOST)
restore(lab.dir / "whole")
flip(log, log.stat().st_size - 1)
refused("a flipped bit in the last byte of the log", *LOST)
restore(lab.dir / "whole")
log.write_bytes(log.read_bytes()[:-1])
refused("a log that is cut", *LOST)
restore(lab.dir / "whole")
log.unlink()
refused("a log that is missing", "and was at")
restore(lab.dir / "old")
refused("an old copy", *LOST)
shutil.rmtree(folder)
refused("no metadata at all", *LOST)

restore(lab.dir / "whole")
region.start()
lab.check("with the right folder the volumes are there",
          {one["name"] for one in region.json("volume", "ls")} == {"disk", "late"})
lab.check("with all that they held", disk())

# ---- killed: nothing was closed in good order
region.create("later", size="64M")
region.kill()
shutil.rmtree(lab.dir / "whole")
shutil.copytree(folder, lab.dir / "whole")
log, first = log_with(b"k/volumes/later")
flip(log, first + 3)
refused("killed, then a flipped bit", *LOST)
kept("killed, then a flipped bit", b"umes/later")
restore(lab.dir / "whole")
tables = sorted(folder.glob("*.sst"))
lab.check("there are tables by now", len(tables) > 0, sorted(folder.iterdir()))
flip(tables[0], 20)
refused("a flipped bit in a table", "checksum")
restore(lab.dir / "whole")
flip(mark, 8)
region.start()
lab.check("a damaged mark is no hindrance, and told", "meta-revision is damaged" in region.log(), region.log())
lab.check("all that was there still is",
          {one["name"] for one in region.json("volume", "ls")} == {"disk", "late", "later"} and disk())
lab.check("clean stop", region.stop(), region.log())

# ---- a mark that is there and cannot be read
held = open(mark, "rb")
fcntl.flock(held, fcntl.LOCK_EX)
threading.Timer(1, held.close).start()
region.start()
lab.check("a mark whose last writer is still ending is waited for", "all of it" not in region.log(), region.log())
lab.check("and no logs are kept aside", not (region.dir / "meta-logs").exists())
lab.check("clean stop", region.stop(), region.log())
mark.rename(lab.dir / "mark")
mark.mkdir()
done = lab.run(*region.command, seconds=60)
lab.check("one that cannot be read is no reason to serve without", done.returncode != 0 and
          all(one in done.stderr for one in ("cannot be told", "remove")) and "deleted" not in done.stderr, done.stderr)
mark.rmdir()
(lab.dir / "mark").rename(mark)

# ---- who wants to, goes on with what is left
restore(lab.dir / "old")
mark.unlink()
region.start()
lab.check("without the mark an old copy is served", [one["name"] for one in region.json("volume", "ls")] == ["disk"])
lab.check("clean stop", region.stop(), region.log())
_, revision = struct.unpack_from("<QQ", mark.read_bytes())
lab.check("and is marked anew", 0 < revision < 1000, revision)
lab.finish()
