#!/usr/bin/python3
"""Fresh seeds of the simulator, 10 virtual minutes each, in chunks on every CPU. Every violation is a failure with its
seed; so is a fault point (build/simulate --fault-points) that never fired in the whole campaign.
Usage: seeds.py [--seeds N] [--seed FIRST] [--limit SECONDS]"""

import argparse
import concurrent.futures
import json
import os
import re
import subprocess
import time

from campaign import ROOT, STATE, Campaign

CHUNK = 100
SIMULATE = ROOT / "build" / "simulate"

parser = argparse.ArgumentParser()
parser.add_argument("--seeds", type=int, default=20000)
parser.add_argument("--seed", type=int, help="the first one")
parser.add_argument("--limit", type=int, default=0, help="stop in good order after so many seconds")
arguments = parser.parse_args()
campaign = Campaign("seeds", arguments.seed)
late_at = time.monotonic() + (arguments.limit or 1 << 30)


def run_chunk(number):
    """The counts of a chunk, and the seeds that failed; nothing when time was up before it began."""
    if time.monotonic() > late_at:
        return None
    first = campaign.seed + number * CHUNK
    count = min(CHUNK, arguments.seeds - number * CHUNK)
    log = STATE.parent / f"seeds.{number}.log"
    with open(log, "w", encoding="utf-8") as out:
        done = subprocess.run(["nice", "-n", "5", SIMULATE, "--go-on", "--seeds", f"{first}..{first + count - 1}"],
                              stdout=out, stderr=subprocess.STDOUT, check=False)
    text = log.read_text(encoding="utf-8", errors="replace")
    counts = {"seeds": count}
    end = re.search(r"^\d+ seeds, (\d+) operations, (\d+) faults, (\d+) s of virtual time, .*$", text, re.M)
    failures = re.findall(r"^seed (\d+): VIOLATION", text, re.M)
    if end:
        counts.update(operations=int(end[1]), faults=int(end[2]), seconds=int(end[3]))
        for number_of, name in re.findall(r"^  +(\d+) (.+)$", text[end.end():], re.M):
            counts[name] = int(number_of)
    else:
        last = re.findall(r"^seed +(\d+)", text, re.M)
        failures.append(f"after {last[-1] if last else first} (status {done.returncode})")
    if done.returncode != 0 and not failures:
        failures.append(f"chunk from {first}: status {done.returncode}")
    if not failures:
        log.unlink()
    return {"chunk": number, "counts": counts, "failures": failures}


chunks = range((arguments.seeds + CHUNK - 1) // CHUNK)
known = {json.loads(line)["chunk"]: json.loads(line) for line in campaign.noted("chunk")}
with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as workers:
    for result in workers.map(run_chunk, [number for number in chunks if number not in known]):
        if result is None:
            continue
        known[result["chunk"]] = result
        campaign.note("chunk", json.dumps(result))
        for failure in result["failures"]:
            print(f"FAIL seed {failure}, see {STATE.parent}/seeds.{result['chunk']}.log", flush=True)

totals, failures = {}, []
for result in known.values():
    failures += result["failures"]
    for name, number in result["counts"].items():
        totals[name] = totals.get(name, 0) + number
points = subprocess.run([SIMULATE, "--fault-points"], stdout=subprocess.PIPE, text=True, check=True).stdout.split("\n")
for name in sorted(filter(None, points)):
    print(f"  {totals.get(name, 0):>9} {name}")
whole = len(known) == len(chunks)
never = [name for name in points if name and name not in totals] if whole else []
for name in never:
    print(f"FAIL the fault point '{name}' never fired")
if not whole:
    print(f"not through yet: {len(known)} of {len(chunks)} chunks")
campaign.summary(f"{totals.get('seeds', 0)} fresh seeds, {totals.get('operations', 0)} operations, "
                 f"{totals.get('faults', 0)} faults, {totals.get('seconds', 0) // 3600} virtual hours, "
                 f"{len(points) - 1 - len(never)} of {len(points) - 1} fault points")
print(f"{totals.get('seeds', 0) - len(failures)} passed, {len(failures) + len(never)} failed, 0 skipped")
raise SystemExit(1 if failures or never else 0)
