#!/usr/bin/python3
"""Every planted bug must be found by the simulator within so many seeds; which one finds it is told.
Usage: planted.py [--seeds N] [--limit SECONDS] [--build FOLDER] [NAME...]"""

import argparse
import concurrent.futures
import os
import re
import subprocess
import time

from campaign import ROOT, STATE, Campaign

# Those that must be found whatever the code says; and all others that it plants.
NAMES = ["skip loss check", "index before slot sync", "slot reuse before sync", "late fill", "partial page",
         "trim as advice", "recompute whole chunk", "fsync retried", "WAL tail dropped",
         "no drain at open", "CAS without epoch", "no session check at apply", "lease counted from answer",
         "check before sample", "txn retried with fresh revision", "absent = zero", "FENCED as failure"]
# It takes two replicas for a read to go back because of it: with one, whatever a read saw of a write under way was
# answered on the same connection before, so that the driver knows the write to be done. Named, it is hunted all the
# same.
OF_REPLICAS = {"read during write"}

parser = argparse.ArgumentParser()
parser.add_argument("names", nargs="*")
parser.add_argument("--seeds", type=int, default=2000)
parser.add_argument("--limit", type=int, default=0, help="stop in good order after so many seconds")
parser.add_argument("--build", default="build-planted", help="folder of a build with planted bugs")
arguments = parser.parse_args()
SIMULATE = ROOT / arguments.build / "simulate"
campaign = Campaign("planted", 1)
late_at = time.monotonic() + (arguments.limit or 1 << 30)


def planted_names():
    found = set(NAMES)
    for path in (ROOT / "src").rglob("*"):
        if path.suffix in (".cc", ".h") and path.name != "planted.h":
            found.update(re.findall(r'PLANTED\("([^"]+)"\)', path.read_text(encoding="utf-8")))
    return sorted(found - OF_REPLICAS - {"name"})


def hunt(name):
    """How many seeds it took; 0: not found; nothing when time was up."""
    if time.monotonic() > late_at:
        return None
    log = STATE.parent / f"planted.{name.replace(' ', '_')}.log"
    with open(log, "w", encoding="utf-8") as out:
        done = subprocess.run(["nice", "-n", "5", SIMULATE, "--plant", name, "--seeds", f"1..{arguments.seeds}"],
                              stdout=out, stderr=subprocess.STDOUT, check=False)
    text = log.read_text(encoding="utf-8", errors="replace")
    seeds = re.findall(r"^seed +(\d+)", text, re.M)
    if done.returncode == 0:
        return name, 0, "not found"
    if done.returncode == 1 and "VIOLATION" in text:
        why = re.findall(r"^seed \d+: (?!VIOLATION)(.*)$", text, re.M)
        return name, int(seeds[-1]), why[-1][:90] if why else ""
    # Its own assertions are an answer, too: the seed is the one after the last that ended. Any other end is none.
    why = re.findall(r"^.*assertion failed.*$", text, re.M)
    if not why:
        return name, 0, f"ended with status {done.returncode}, see {log}"
    return name, (int(seeds[-1]) if seeds else 0) + 1, why[-1][:90]


names = arguments.names or planted_names()
known = dict(line.rsplit(" ", 1) for line in campaign.noted("bug"))
with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as workers:
    for result in workers.map(hunt, [name for name in names if int(known.get(name, 0)) == 0]):
        if result is None:
            continue
        name, seeds, why = result
        known[name] = str(seeds)
        campaign.note("bug", f"{name} {seeds}")
        taken = f"{seeds} seeds" if seeds else f"not found within {arguments.seeds} seeds"
        print(f"{'ok  ' if seeds else 'FAIL'} {name}: {taken}; {why}", flush=True)

missed = [name for name in names if known.get(name) == "0"]
left = [name for name in names if name not in known]
if left:
    print(f"not through yet: {', '.join(left)}")
needed = ", ".join(f"{name} {known[name]}" for name in names if int(known.get(name, 0)) > 0)
campaign.summary(f"seeds needed to find each planted bug: {needed}")
print(f"{len(names) - len(missed) - len(left)} passed, {len(missed)} failed, 0 skipped")
raise SystemExit(1 if missed else 0)
