#!/usr/bin/python3
"""Proves that memory is bounded: over mixed requests on a set ten times the caches, beside idle connections, and with
as much in flight as clients can have, `attach` and `up` take their caches and 200 MiB at most.
Usage: test_bounds.py [--requests N]"""

import argparse

from bounds import Bounded, IDLE_BESIDE_LOAD, IDLE_CONNECTIONS
from lab import Lab

parser = argparse.ArgumentParser()
parser.add_argument("--requests", type=int, default=200_000)
arguments = parser.parse_args()

lab = Lab()
lab.needs("fio", "nbdcopy")
bounded = Bounded(lab)
idle = bounded.idle_connections()
lab.check(f"{IDLE_CONNECTIONS} idle connections", None not in idle)
bounded.judge("idle")
for link in idle[IDLE_BESIDE_LOAD:]:
    link.close()
for name, share in (("mixed", 0.9), ("trim", 0.05), ("sequential", 0.05)):
    wanted = int(arguments.requests * share)
    made = bounded.load(name, wanted, seed=len(name))
    lab.check(f"{name}: {made} requests", made >= wanted * 0.99, wanted)
    bounded.judge(name)
for link in idle:
    link.close()
bounded.large_requests()
bounded.judge("with the largest requests")
bounded.end()
lab.finish()
