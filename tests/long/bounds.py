#!/usr/bin/python3
"""20 million mixed requests on a set ten times the caches, beside idle connections: `attach` and `up` stay below
their caches and 200 MiB. Done in portions; a call that goes on where another stopped does so with new processes.
Usage: bounds.py [--requests N] [--seed N] [--limit SECONDS]"""

import argparse
import time

from campaign import Campaign

from bounds import Bounded, IDLE_BESIDE_LOAD, IDLE_CONNECTIONS
from lab import Lab, MIB

PORTION = 500_000
SHARES = (("mixed", 0.9), ("trim", 0.05), ("sequential", 0.05))

parser = argparse.ArgumentParser()
parser.add_argument("--requests", type=int, default=20_000_000)
parser.add_argument("--seed", type=int)
parser.add_argument("--limit", type=int, default=0, help="stop in good order after so many seconds")
arguments = parser.parse_args()
lab = Lab()
lab.needs("fio", "nbdcopy")
campaign = Campaign("bounds", arguments.seed)
late_at = time.monotonic() + (arguments.limit or 1 << 30)
portion = min(PORTION, arguments.requests)
wanted = -(-arguments.requests // portion)

bounded = Bounded(lab)
idle = bounded.idle_connections()
lab.check(f"{IDLE_CONNECTIONS} idle connections", None not in idle)
bounded.judge("idle")
for link in idle[IDLE_BESIDE_LOAD:]:
    link.close()
while campaign.done("portion") < wanted and time.monotonic() < late_at and not lab.failed:
    number = campaign.done("portion")
    for name, share in SHARES:
        requests = int(portion * share)
        seed = campaign.chance(name, number).getrandbits(31)
        lab.check(f"portion {number + 1}, {name}", bounded.load(name, requests, seed) >= requests * 0.99)
    bounded.judge(f"portion {number + 1} of {wanted}")
    campaign.note("portion", number)
for link in idle:
    link.close()
bounded.large_requests()
bounded.judge("with the largest requests")
attach, up = bounded.peaks()
bounded.end()
campaign.keep(lab)
done = campaign.done("portion") * portion
campaign.summary(f"bounds: {done} requests; attach took at most {attach // MIB} MiB, up {up // MIB} MiB of "
                 f"{bounded.up_max // MIB} MiB")
if campaign.done("portion") < wanted:
    print("     not through yet; the next call goes on", flush=True)
lab.finish()
