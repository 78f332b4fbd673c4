#!/usr/bin/python3
"""Proves on a live volume, with a real NBD client, that what was read before is fetched before it is asked for again:
a random order of reads, each pass of which is longer than the cache, misses at first and mostly hits from the third
pass on; that prefetching can be switched off, to shadow and on; and that `prefetch stats`, `predict status` and
`predict explain` tell what happened. Random reads that never recur cause no fetches to speak of."""

import random

import nbd

from lab import Attachment, Lab, MIB, Region

PAGE = 4096
PAGES = 6000  # of one pass: 23 MiB, against a cache of 8

lab = Lab()
region = Region(lab)
region.create("disk", size="512M")
attachment = Attachment(region, "disk", cache="8M")
client = nbd.NBD()
client.connect_uri(attachment.uri)
for offset in range(0, 512 * MIB, 4 * MIB):
    client.pwrite(random.Random(offset).randbytes(4 * MIB), offset)


def stats():
    return region.json("prefetch", "stats", "disk")


def read_pass(order):
    """Share of the pages that had to be waited for."""
    before = stats()
    for page in order:
        client.pread(PAGE, page * PAGE)
    after = stats()
    return (after["missed_pages"] - before["missed_pages"]) / len(order)


order = random.Random(1).sample(range(512 * MIB // PAGE), PAGES)
shares = [read_pass(order) for _ in range(4)]
lab.check("a first pass in random order misses", shares[0] > 0.95, shares)
lab.check("the fourth pass over the same order mostly hits", shares[3] < 0.25, shares)
after = stats()
lab.check("most of what was fetched was used", after["precision"] > 0.6, after)
lab.check("the log is among the active experts",
          any(expert["name"] == "log" and expert["active"] for expert in after["experts"]), after)

status = region.json("predict", "status", "disk")
lab.check("status tells calibration and memory",
          0 <= status["ece"] <= 0.2 and 0 < status["memory_bytes_max"] < 64 * MIB and status["reliability"], status)
why = region.json("predict", "explain", "disk", "--last", "30")
lab.check("explain lists as many decisions as asked for", len(why) == 30, why[:2])
lab.check("a decision names experts, probability and verdict",
          all(one["experts"] and 0 <= one["probability"] <= 1 and one["verdict"] for one in why), why[:3])
lab.check("some proposal was fetched", any(one["fetched"] > 0 for one in why), why[:3])
text = region.cli("predict", "explain", "disk").stdout
lab.check("the table has a heading", "PROBABILITY" in text and "VERDICT" in text, text)

for mode in ("off", "shadow"):
    done = region.cli("prefetch", "mode", "disk", mode)
    before = stats()
    read_pass(order[:2000])
    now = stats()
    lab.check(f"in mode {mode} nothing is fetched",
              done.returncode == 0 and now["issued_pages"] == before["issued_pages"], now)
lab.check("shadow keeps score", stats()["pages"]["shadow_issued"] > 0)
region.cli("prefetch", "mode", "disk", "on")

before = stats()
others = random.Random(2)
for _ in range(8000):
    client.pread(PAGE, others.randrange(512 * MIB // PAGE) * PAGE)
after = stats()
extra = after["issued_pages"] - before["issued_pages"]
lab.check("random reads cause few fetches", extra < 8000 * 0.1, extra)
warmed = after["servers_memory"]
extra = warmed["issued"] - before["servers_memory"]["issued"]
lab.check("and few into the servers' memory", extra < 8000 * 0.1, extra)
lab.check("what the servers' disks take has been measured", 0 < warmed["disk_share"] <= 1, warmed)
lab.check("no page into the servers' memory is lost count of",
          warmed["used"] + warmed["wasted"] + warmed["taken"] <= warmed["issued"], warmed)

unknown = region.cli("predict", "status", "nothing")
lab.check("an unknown volume is an error that says so", unknown.returncode != 0 and "nothing" in unknown.stderr,
          unknown.stderr)
client.shutdown()
lab.check("detach", attachment.stop())
frugal = Attachment(region, "disk", cache="8M", options=("--prefetch-budget", "frugal"))
lab.check("the budget is the one asked for", region.json("predict", "status", "disk")["budget"] == "frugal")
lab.check("a wrong budget is refused",
          lab.run(*frugal.command[:3], "--prefetch-budget", "lavish", "--region", region.address).returncode != 0)
lab.check("detach of the frugal one", frugal.stop())
lab.finish()
