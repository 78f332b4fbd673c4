#!/usr/bin/python3
"""Proves what survives power cuts of all servers' disks, by real file systems on a disk that loses unsynced sectors:
with drivers that live on no acknowledged write, without them no flushed one. Usage: test_power.py [--seed N]"""

import argparse
import random
import time

import accept
import volatile_disk
from lab import Lab

volatile_disk.enter_namespaces()

from clients import check, detach_all, make_clients
from power_rounds import PoweredRegion, die_by_cut, survive_cuts

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=time.time_ns())
parser.add_argument("--bug", default="honest", help="of voldisk; with lieflush this test must fail")
arguments = parser.parse_args()
print(f"seed {arguments.seed}")
chance = random.Random(arguments.seed)

lab = Lab()
torture = accept.torture(lab)
if torture is None:
    lab.skipped += 1
    print("skip power cuts: FORESHARD_ACCEPT names no folder with voldisk", flush=True)
    lab.finish()
if volatile_disk.absent():
    lab.skip("power cuts", "not there: " + ", ".join(volatile_disk.absent()))
    lab.finish()


def load(chance, until):
    if time.monotonic() > until:
        return False
    time.sleep(chance.uniform(0.5, 2))
    return True


region = PoweredRegion(lab, "region", chance, arguments.bug)
clients = make_clients(lab, region, "power", arguments.seed, torture)
survive_cuts(region, clients, [(n, chance) for n in range(2)], 20, load)
for client in clients:
    lab.check(f"{client.name}: clean detach", client.attachment.stop(), client.attachment.log())
    client.attachment.start()
    check("and still there for the next driver", client, client.judge(strict=True))
die_by_cut(region, clients, 2, chance, load)
detach_all(clients)
lab.check("clean stop of the region", region.end(), region.log())
lab.finish()
