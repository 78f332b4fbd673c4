#!/usr/bin/env python3
"""Proves what survives kill -9, with a client that checks every sector it reads against what was answered before:

region  the region dies and comes back while `attach` lives on: clients see a pause, no error, and no acknowledged
        write is lost, flushed or not
attach  the driver dies, another takes over: no acknowledged write is lost, the servers have them all
both    the whole of it dies: no flushed write is lost, and no sector mixes two contents

Usage: test_crash.py [--kind region|attach|both]... [--kills N] [--seed N]"""

import argparse
import random
import time

import accept
from lab import Attachment, Lab, Region

parser = argparse.ArgumentParser()
parser.add_argument("--kind", action="append", choices=["region", "attach", "both"])
parser.add_argument("--kills", type=int, default=3, help="of each kind")
parser.add_argument("--seed", type=int, default=time.time_ns())
arguments = parser.parse_args()
print(f"seed {arguments.seed}")
chance = random.Random(arguments.seed)

lab = Lab()
torture = accept.torture(lab)
if torture is None:
    lab.skipped += 1
    print("skip crash tests: FORESHARD_ACCEPT names no folder with nbdtorture", flush=True)
    lab.finish()
region = Region(lab)


def run(journal, attachment, seconds, *options):
    return lab.start(torture, "run", seconds, "--journal", journal, "--boundary", 4194304, "--window", 128 << 20,
                     "--no-probes", *options, attachment.uri)


def verdict(what, process, wanted):
    """Waits for a run of the torture client; `wanted` are the exit statuses of one without a violation."""
    code = process.wait(300)
    text = process.log.read_text(errors="replace")
    return lab.check(what, code in wanted, f"exit status {code}: {text}")


def region_dies():
    """All kills within one run of the client, which never sees its connection end."""
    region.create("region-dies")
    attachment = Attachment(region, "region-dies")
    # Each kill: up to 3 s of work, up to 1 s down, some seconds until the region serves again.
    seconds = arguments.kills * 6 + 4
    client = run(lab.dir / "region.journal", attachment, seconds, "--strict-acked", "--reconnect", "live")
    for number in range(arguments.kills):
        time.sleep(chance.uniform(0.5, 3))
        region.kill()
        time.sleep(chance.uniform(0, 1))
        region.start()
        lab.check(f"region killed {number + 1}: the driver lives", attachment.process.poll() is None, attachment.log())
    verdict("region killed: a pause, no error, nothing lost", client, [0])
    reconnects = client.log.read_text(errors="replace")
    lab.check("region killed: no connection ended", "reconnects 0" in reconnects, reconnects)
    lab.check("region killed: clean detach after", attachment.stop(), attachment.log())


def driver_dies(kind, volume):
    """One run of the client for each kill; then another attachment, and every sector is judged."""
    region.create(volume)
    journal = lab.dir / f"{kind}.journal"
    strict = ["--strict-acked"] if kind == "attach" else []
    attachment = Attachment(region, volume)
    for number in range(arguments.kills):
        client = run(journal, attachment, 600, *(["--resume"] if number else []))
        time.sleep(chance.uniform(1, 4))
        if kind == "both":
            first, second = chance.sample([attachment, region], 2)
            first.kill()
            second.kill()
            region.start()
        else:
            attachment.kill()
        if not verdict(f"{kind} killed {number + 1}: right until then", client, [3]):
            return
        begin = time.monotonic()
        attachment.start()
        lab.check(f"{kind} killed {number + 1}: taken over in time", time.monotonic() - begin < 15,
                  f"{time.monotonic() - begin:.1f} s")
        judge = lab.start(torture, "verify", journal, "--compact", *strict, attachment.uri)
        if not verdict(f"{kind} killed {number + 1}: nothing promised is lost", judge, [0]):
            return
    lab.check(f"{kind} killed: clean detach after", attachment.stop(), attachment.log())


for kind in arguments.kind or ["region", "attach", "both"]:
    if kind == "region":
        region_dies()
    else:
        driver_dies(kind, f"{kind}-dies")
lab.check("clean stop of the region", region.stop(), region.log())
lab.finish()
