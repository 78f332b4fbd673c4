#!/usr/bin/python3
"""Malformed NBD conversations against `attach` and `up` built with sanitizers, by the acceptance suite's nbdtorture:
in every round a run that keeps a journal, a minute of fuzzing, and a look that nothing of the content changed. At the
end both stop in good order, with which the leak checker agrees.
Usage: nbdfuzz.py [--seconds N] [--seed N] [--limit SECONDS]"""

import argparse
import os
import re
import time

from campaign import Campaign, ROOT

os.environ.setdefault("FORESHARD_BINARY", str(ROOT / "build-asan" / "foreshard"))
# A leak gives exit status 23, any other find of a sanitizer ends the process.
os.environ["ASAN_OPTIONS"] = "detect_leaks=1:exitcode=23:detect_stack_use_after_return=1"
os.environ["UBSAN_OPTIONS"] = "print_stacktrace=1"

import accept
from lab import Attachment, Lab, MIB, Region

ROUND_SECONDS = 60
SIZE = 512 * MIB

parser = argparse.ArgumentParser()
parser.add_argument("--seconds", type=int, default=600, help="of fuzzing in all")
parser.add_argument("--seed", type=int)
parser.add_argument("--limit", type=int, default=0, help="stop in good order after so many seconds")
arguments = parser.parse_args()
lab = Lab()
torture = accept.torture(lab)
if torture is None:
    lab.skip("nbdfuzz", "FORESHARD_ACCEPT names no folder with nbdtorture")
    lab.finish()
campaign = Campaign("nbdfuzz", arguments.seed)
late_at = time.monotonic() + (arguments.limit or 1 << 30)
round_seconds = min(ROUND_SECONDS, arguments.seconds)
rounds = -(-arguments.seconds // round_seconds)

region = Region(lab)
region.create("v", size=SIZE)
attachment = Attachment(region, "v")
journal = lab.dir / "nbdfuzz.journal"
window = ["--window", 32 * MIB, "--boundary", 4 * MIB]


def client(what, *words):
    return lab.succeeds(what, torture, *words, attachment.uri, seconds=round_seconds + 300)


while campaign.done("round") < rounds and time.monotonic() < late_at and not lab.failed:
    number = campaign.done("round")
    seed = campaign.chance("round", number).getrandbits(62) | 1
    client(f"round {number + 1}: content", "run", 3, "--journal", journal, *window, "--no-probes", "--seed", seed,
           *(["--resume"] if journal.exists() else []))
    fuzzed = client(f"round {number + 1}: fuzz", "fuzz", round_seconds, "--seed", seed, "--pid", attachment.process.pid,
                    "--journal", lab.dir / "fuzz.journal")
    client(f"round {number + 1}: nothing has changed", "verify", journal, "--compact", "--strict-acked")
    for process, name in ((attachment.process, "attach"), (region.process, "up")):
        lab.check(f"round {number + 1}: {name} lives", process.poll() is None, attachment.log() + region.log())
    conversations = re.search(r"(\d+) malformed conversations", fuzzed.stdout + fuzzed.stderr)
    campaign.note("round", conversations.group(1) if conversations else 0)
lab.check("clean detach without leaks", attachment.stop(), attachment.log())
lab.check("clean stop of the region without leaks", region.stop(), region.log())
for log in (attachment.log(), region.log()):
    lab.check("no sanitizer spoke", "Sanitizer" not in log and "runtime error" not in log, log)
campaign.keep(lab)
conversations = sum(map(int, campaign.noted("round")))
campaign.summary(f"nbdtorture fuzz against the asan build, {campaign.done('round') * round_seconds} s, "
                 f"{conversations} malformed conversations")
if campaign.done("round") < rounds:
    print("     not through yet; the next call goes on", flush=True)
lab.finish()
