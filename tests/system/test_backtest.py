#!/usr/bin/python3
"""Proves that `predict backtest` tells what each way of prefetching would have made of the requests of a volume's
clients: of those that come while it records, and of a recording made before, the same as `foreshard replay` makes of it
on these terms; with the volume's own cache, budget and measured fetches unless told otherwise; and that what keeps it
from telling is said in plain words."""

import json
import threading
import time

import nbd

from lab import Attachment, FORESHARD, Lab, MIB, Region

PAGE = 4096

lab = Lab()
region = Region(lab)
region.create("disk", size="256M")
attachment = Attachment(region, "disk", cache="8M", options=("--prefetch-budget", "frugal"))
client = nbd.NBD()
client.connect_uri(attachment.uri)
for offset in range(0, 256 * MIB, 4 * MIB):
    client.pwrite(b"\1" * (4 * MIB), offset)


def backtest(*words):
    return region.cli("predict", "backtest", "disk", *words)


def told(*words):
    return region.json("predict", "backtest", "disk", *words)


def refused(what, code, says, done):
    lab.check(f"{what}: told in plain words",
              done.returncode == code and says in done.stderr and done.stdout == "" and len(done.stderr) < 400,
              f"rc {done.returncode}: {done.stdout}{done.stderr}")


class Reader(threading.Thread):
    """A client of its own that reads one page after the other, from the begin of the volume on, never one again."""

    def __init__(self):
        super().__init__()
        self.client = nbd.NBD()
        self.client.connect_uri(attachment.uri)
        self.enough = threading.Event()
        self.pages = 0

    def run(self):
        while not self.enough.is_set() and self.pages < 256 * MIB // PAGE:
            self.client.pread(PAGE, self.pages * PAGE)
            self.pages += 1
            time.sleep(0.0005)
        self.client.shutdown()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.enough.set()
        self.join()


# ---- nothing to tell of
refused("nothing is read", 3, "nothing was read from disk in 1 s", backtest("--for", "1s"))

# ---- what is asked for right now
with Reader() as reader:
    live = told("--for", "3s")
    text = backtest("--for", "1s").stdout
rows = {row["prefetch"]: row for row in live["policies"]}
lab.check("the volume's terms are told", live["cache_bytes"] == 8 * MIB and live["budget"] == "frugal"
          and live["mode"] == "on" and live["fetch_us"] > 0 and live["dropped"] == 0 and 2.9 < live["seconds"] < 10,
          live)
lab.check("the requests are the client's", 0 < live["read_requests"] <= reader.pages
          and live["requests"] == live["read_requests"], live)
lab.check("without prefetch all of them miss", rows["none"]["read_request_miss_ratio"] == 1, rows["none"])
lab.check("readahead would have taken the stream", rows["readahead"]["read_request_miss_ratio"] < 0.2
          and rows["readahead"]["precision"] > 0.5, rows["readahead"])
lab.check("every expert has its row, and all of them one",
          {"log", "sequential", "stride", "near", "footprint", "association", "all"} < set(rows), rows.keys())
lab.check("as a table too", all(part in text for part in ("PREFETCH", "MISS", "WASTED", "ECE", "readahead", "all"))
          and "budget frugal" in text and "disk: " in text, text)

# ---- a recording made before
trace = lab.dir / "disk.csv"
with Reader():
    recorded = region.cli("volume", "record", "disk", "-o", trace, "--seconds", "2")
lab.check("volume record still records", recorded.returncode == 0 and trace.read_text().startswith("ts_us,vol,"),
          recorded.stderr)
count = len(trace.read_text().splitlines()) - 1
before = told("--trace", trace)
lab.check("a trace is read as a whole, on the volume's terms", before["requests"] == count and count > 100
          and before["cache_bytes"] == 8 * MIB and before["budget"] == "frugal", before)
own = told("--trace", trace, "--cache", "1M", "--fetch-us", "3000")
lab.check("or on those that are asked for", own["cache_bytes"] == MIB and own["fetch_us"] == 3000
          and own["fetch_assumed"] is False and own["policies"][0]["mean_latency_us"] > 2900, own)
for row in own["policies"]:
    alone = json.loads(lab.run(FORESHARD, "replay", trace, "--cache", "1M", "--fetch-us", "3000", "--prefetch",
                               row["prefetch"], "-o", "json").stdout)
    lab.check(f"{row['prefetch']}: as foreshard replay tells it",
              all(row[key] == alone[key] for key in ("requests", "misses", "late", "precision", "wasted_bytes",
                                                     "mean_latency_us", "p99_latency_us", "ece")), (row, alone))

# ---- what keeps it from telling
refused("no such volume", 3, "nothing", region.cli("predict", "backtest", "nothing"))
refused("no such trace", 3, "nowhere.csv", backtest("--trace", lab.dir / "nowhere.csv"))
refused("a cache beyond the host's memory", 2, "choose a smaller one", backtest("--cache", "900T"))
refused("a cache of less than a page", 2, "less than a page", backtest("--cache", "100"))
refused("a recording and a trace", 2, "--for", backtest("--for", "1s", "--trace", trace))
refused("no time", 2, "soon", backtest("--for", "soon"))
busy = lab.start(FORESHARD, "volume", "record", "disk", "-o", lab.dir / "other.csv", "--region", region.address)
lab.wait_for("the other recording", (lab.dir / "other.csv").exists, busy)
time.sleep(0.5)
refused("another recording", 4, "another recording", backtest("--for", "1s"))
busy.terminate()
busy.wait()
client.shutdown()
lab.check("detach", attachment.stop())
refused("not attached", 3, "disk is not attached", backtest())
refused("not attached, with a trace", 3, "disk is not attached", backtest("--trace", trace, "--cache", "1M"))
region.stop()
alone = backtest("--trace", trace, "--cache", "1M", "--fetch-us", "3000", "-o", "json")
lab.check("with all told, no region is asked", alone.returncode == 0
          and [one["misses"] for one in json.loads(alone.stdout)["policies"]]
          == [one["misses"] for one in own["policies"]], alone.stderr)
lab.finish()
