#!/usr/bin/python3
"""Page faults on disk, 500 a round, as tests/system/pages.py tells: all are found, none is served.
Usage: pages.py [--faults N] [--seed N] [--limit SECONDS]"""

import argparse
import time

from campaign import Campaign

from lab import Lab, Region
from pages import PageVolume, STATES

PER_ROUND = 500

parser = argparse.ArgumentParser()
parser.add_argument("--faults", type=int, default=10_000)
parser.add_argument("--seed", type=int)
parser.add_argument("--limit", type=int, default=0, help="stop in good order after so many seconds")
arguments = parser.parse_args()
campaign = Campaign("pages", arguments.seed)
late_at = time.monotonic() + (arguments.limit or 1 << 30)
rounds = (arguments.faults + PER_ROUND - 1) // PER_ROUND

lab = Lab()
region = Region(lab)
volume = PageVolume(lab, region)
while campaign.done("round") < rounds and time.monotonic() < late_at and not lab.failed:
    number = campaign.done("round")
    volume.round(campaign.chance("round", number), STATES[number % len(STATES)], PER_ROUND + number % 2)
    if not lab.failed:
        campaign.note("round", number)
    print(f"     {campaign.done('round')} of {rounds} rounds", flush=True)
lab.check("clean detach", volume.attachment.stop(), volume.attachment.log())
lab.check("clean stop", region.stop(), region.log())
campaign.keep(lab)
kinds = ", ".join(f"{count} {kind}" for kind, count in volume.by_kind.items())
campaign.summary(f"{campaign.done('round') * PER_ROUND} damaged pages in {campaign.done('round')} rounds "
                 f"(the last call: {kinds})")
if campaign.done("round") < rounds:
    print("     not through yet; the next call goes on", flush=True)
lab.finish()
