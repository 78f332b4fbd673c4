#!/usr/bin/python3
"""20 million mixed requests on a set ten times the caches, beside idle connections: `attach` and `up` stay below
their caches and 200 MiB. Done in portions; a call that goes on where another stopped does so with new processes.
Usage: bounds.py [--requests N] [--seed N] [--limit SECONDS]"""

import argparse

from campaign import Campaign

from bounds import Bounded, SHARES
from lab import Lab, MIB

PORTION = 500_000

parser = argparse.ArgumentParser()
parser.add_argument("--requests", type=int, default=20_000_000)
parser.add_argument("--seed", type=int)
parser.add_argument("--limit", type=int, default=0, help="stop in good order after so many seconds")
arguments = parser.parse_args()
lab = Lab()
lab.needs("fio", "nbdcopy")
campaign = Campaign("bounds", arguments.seed, arguments.limit)
portion = min(PORTION, arguments.requests)
wanted = -(-arguments.requests // portion)

bounded = Bounded(lab)
bounded.go_idle()
while campaign.due("portion", wanted, lab):
    number = campaign.done("portion")
    for name, share in SHARES:
        requests = int(portion * share)
        seed = campaign.chance(name, number).getrandbits(31)
        lab.check(f"portion {number + 1}, {name}", bounded.load(name, requests, seed) >= requests * 0.99)
    bounded.judge(f"portion {number + 1} of {wanted}")
    campaign.note("portion", number)
bounded.large_requests()
attach, up = bounded.peaks()
bounded.end()
campaign.keep(lab)
done = campaign.done("portion") * portion
campaign.summary(f"bounds: {done} requests; attach took at most {attach // MIB} MiB, up {up // MIB} MiB of "
                 f"{bounded.up_max // MIB} MiB")
campaign.tell_whether_through(["portion"], wanted)
lab.finish()
