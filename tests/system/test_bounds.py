#!/usr/bin/python3
"""Proves that memory is bounded: over mixed requests on a set ten times the caches, beside idle connections, and with
as much in flight as clients can have, `attach` and `up` take their caches and 200 MiB at most.
Usage: test_bounds.py [--requests N]"""

import argparse

from bounds import Bounded, SHARES
from lab import Lab

parser = argparse.ArgumentParser()
parser.add_argument("--requests", type=int, default=200_000)
arguments = parser.parse_args()

lab = Lab()
lab.needs("fio", "nbdcopy")
bounded = Bounded(lab)
bounded.go_idle()
for name, share in SHARES:
    wanted = int(arguments.requests * share)
    made = bounded.load(name, wanted, seed=len(name))
    lab.check(f"{name}: {made} requests", made >= wanted * 0.99, wanted)
    bounded.judge(name)
bounded.large_requests()
bounded.end()
lab.finish()
