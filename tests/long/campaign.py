"""What the long campaigns share: where they stopped, from which seed they draw, and what they tell at the end.

A campaign is cut into rounds. What is done is noted in build/long/state, a line each ("kills region 17"), beside the
campaign's seed, so that a campaign that was interrupted goes on with the same times at the next call. ./test --long
clears a campaign's lines when it is through. Round N of a kind draws from (seed, kind, N) alone."""

import argparse
import os
import pathlib
import random
import shutil
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "system"))
STATE = pathlib.Path(os.environ.get("FORESHARD_LONG_STATE", ROOT / "build" / "long" / "state"))


def arguments_of(rounds, kinds):
    """The options of a campaign of so many rounds of each kind."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=rounds, help="of each kind")
    parser.add_argument("--kind", action="append", choices=kinds)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--limit", type=int, default=0, help="stop in good order after so many seconds")
    return parser.parse_args()


class Campaign:
    def __init__(self, name, seed=None, limit_seconds=0):
        self.name = name
        self.late_at = time.monotonic() + (limit_seconds or 1 << 30)
        STATE.parent.mkdir(parents=True, exist_ok=True)
        noted = self.noted("seed")
        self.seed = seed or (int(noted[-1]) if noted else time.time_ns())
        if not noted:
            self.note("seed", self.seed)
        print(f"seed {self.seed}", flush=True)

    def noted(self, what):
        if not STATE.exists():
            return []
        prefix = f"{self.name} {what} "
        return [line[len(prefix):] for line in STATE.read_text().splitlines() if line.startswith(prefix)]

    def note(self, what, value):
        with open(STATE, "a", encoding="utf-8") as out:
            out.write(f"{self.name} {what} {value}\n")

    def done(self, what):
        """How many rounds of this kind are done."""
        return len(self.noted(what))

    def due(self, what, rounds, lab):
        """Whether another round of this kind is to be done in this call."""
        return self.done(what) < rounds and time.monotonic() < self.late_at and not lab.failed

    def run(self, kinds, rounds, lab, run_kind):
        for kind in kinds:
            if self.due(kind, rounds, lab):
                run_kind(kind)

    def tell_whether_through(self, kinds, rounds):
        if any(self.done(kind) < rounds for kind in kinds):
            print("     not through yet; the next call goes on", flush=True)

    def chance(self, what, number):
        return random.Random(f"{self.seed}.{what}.{number}")

    def summary(self, text):
        """What stands in bench/RESULTS.md."""
        print(f"summary: {text}, seed {self.seed}", flush=True)

    def keep(self, lab):
        """After a failure: journals and logs, for who looks into it."""
        if lab.failed:
            kept = STATE.parent / f"{self.name}.failed.{int(time.time())}"
            kept.mkdir()
            for path in lab.dir.glob("*"):
                if path.is_file() and path.suffix in (".journal", ".log"):
                    shutil.copy(path, kept)
            print(f"     journals and logs are in {kept}", flush=True)


def requests_of(region, volume):
    """Reads and writes that a volume's driver has been asked for."""
    driver = region.json("volume", "info", volume)["driver"]
    return driver["reads"] + driver["writes"]


def wait_for_requests(region, clients, before, wanted, until):
    """True when each client has made `wanted` requests more than `before` says, false when that took too long."""
    for client in clients:
        while requests_of(region, client.name) < before.get(client.name, 0) + wanted:
            if time.monotonic() > until or client.attachment.process.poll() is not None:
                return False
            time.sleep(0.05)
    return True
