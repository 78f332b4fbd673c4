#!/usr/bin/python3
"""Proves what survives kill -9, with clients that check everything they read against what was answered before:

region  the region dies and comes back while the drivers live on: clients see a pause, no error, and no acknowledged
        write is lost, flushed or not
attach  the drivers die, others take over: no acknowledged write is lost, the servers have them all
both    the whole of it dies: no flushed write is lost, and no sector mixes two contents

Two volumes are driven at once: one by stamps.py, one by the acceptance suite's nbdtorture where that is present.
Usage: test_crash.py [--kind region|attach|both]... [--kills N] [--seed N]"""

import argparse
import random
import time

import accept
from clients import check, detach_all, make_clients
from lab import Lab, Region

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
    print("     without nbdtorture: FORESHARD_ACCEPT names no folder with it", flush=True)
region = Region(lab)


def region_dies():
    """All kills within one run of the clients, which never see their connections end."""
    clients = make_clients(lab, region, "region", arguments.seed, torture)
    for client in clients:
        client.start(live_seconds=arguments.kills * 6 + 4)
    for number in range(arguments.kills):
        time.sleep(chance.uniform(0.5, 3))
        region.kill()
        time.sleep(chance.uniform(0, 1))
        region.start()
        for client in clients:
            lab.check(f"{client.name}: the driver lives, kill {number + 1}", client.attachment.process.poll() is None,
                      client.attachment.log())
    time.sleep(1)
    for client in clients:
        check("a pause, no error, nothing lost", client, client.survived())
    detach_all(clients)


def drivers_die(kind):
    """One run of the clients for each kill; then other drivers, and everything is judged."""
    clients = make_clients(lab, region, kind, arguments.seed, torture)
    for number in range(arguments.kills):
        for client in clients:
            client.start()
        time.sleep(chance.uniform(1, 4))
        victims = [client.attachment for client in clients] + ([region] if kind == "both" else [])
        chance.shuffle(victims)
        for victim in victims:
            victim.kill()
        if kind == "both":
            region.start()
        for client in clients:
            check(f"right until kill {number + 1}", client, client.right_until_death())
            begin = time.monotonic()
            client.attachment.start()
            lab.check(f"{client.name}: taken over in time", time.monotonic() - begin < 15,
                      f"{time.monotonic() - begin:.1f} s")
            if not check(f"nothing promised is lost by kill {number + 1}", client, client.judge(kind == "attach")):
                return
    detach_all(clients)


for kind in arguments.kind or ["region", "attach", "both"]:
    if kind == "region":
        region_dies()
    else:
        drivers_die(kind)
lab.check("clean stop of the region", region.stop(), region.log())
lab.finish()
