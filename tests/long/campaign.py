"""What the long campaigns share: where they stopped, from which seed they draw, and what they tell at the end.

A campaign is cut into rounds. What is done is noted in build/long/state, a line each ("kills region 17"), beside the
campaign's seed, so that a campaign that was interrupted goes on with the same times at the next call. ./test --long
clears a campaign's lines when it is through. Round N of a kind draws from (seed, kind, N) alone."""

import os
import pathlib
import random
import shutil
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "system"))
STATE = pathlib.Path(os.environ.get("FORESHARD_LONG_STATE", ROOT / "build" / "long" / "state"))


class Campaign:
    def __init__(self, name, seed=None):
        self.name = name
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
