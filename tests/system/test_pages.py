#!/usr/bin/python3
"""Proves that damage to single pages on disk is always found and never served: flipped bits, exchanged, stale and lost
pages in a region at rest, in a running one and in one that was killed; scrub and the logs name them all, everything
else reads right, and writing the pages anew heals them. tests/long/pages.py does it 10,000 times."""

import random
import time

from lab import Lab, MIB, Region
from pages import PageVolume, STATES

lab = Lab()
lab.needs("nbdinfo")
seed = time.time_ns()
print(f"     seed {seed}", flush=True)
region = Region(lab)
volume = PageVolume(lab, region, size=48 * MIB)
for number, state in enumerate(STATES):
    volume.round(random.Random(f"{seed}.{number}"), state, 70 + number)
lab.check("clean detach", volume.attachment.stop(), volume.attachment.log())
lab.check("clean stop", region.stop(), region.log())
lab.finish()
