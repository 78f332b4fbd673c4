#!/usr/bin/python3
"""Proves with fio's NBD engine that what it writes verifies: sequential, random, mixed sizes, with flushes, with the
cache too small and off, and through two attachments one after the other."""

from lab import Attachment, Lab, Region

JOBS = {
    "sequential 1m": ["--rw=write", "--bs=1m", "--iodepth=8"],
    "random 4k": ["--rw=randwrite", "--bs=4k", "--iodepth=16", "--io_size=48m"],
    "random sizes": ["--rw=randrw", "--bsrange=512-128k", "--blockalign=512", "--iodepth=8", "--io_size=48m"],
    "flush every 8": ["--rw=randwrite", "--bs=4k", "--iodepth=4", "--fsync=8", "--io_size=8m"],
}

lab = Lab()
lab.needs("fio")
if "nbd" not in lab.run("fio", "--enghelp").stdout:
    lab.skip("fio", "built without its nbd engine")
    lab.finish()
region = Region(lab)
region.create("fio")
for cache, prefetch in (("64M", "on"), ("1M", "off")):
    attachment = Attachment(region, "fio", cache=cache, prefetch=prefetch)
    for name, options in JOBS.items():
        lab.succeeds(f"{name}, cache {cache}", "fio", "--name=verify", "--ioengine=nbd", f"--uri={attachment.uri}",
                     "--verify=crc32c", "--verify_fatal=1", "--verify_backlog=512", "--verify_state_save=0",
                     "--size=128m", "--do_verify=1", "--randseed=7", *options, cwd=lab.dir)
    lab.check(f"clean detach, cache {cache}", attachment.stop(), attachment.log())
region.stop()
lab.finish()
