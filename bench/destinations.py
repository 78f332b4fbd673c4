#!/usr/bin/python3
"""What the destinations behind the driver's memory are worth.

  destinations.py [--jobs servers,file] [--traces FOLDER] [--cache 5%] [--seconds 3] [--runs 3] [--append FILE]

servers: replays traces with all experts, without and with prefetching into the server's memory (as large as the
driver's), and prints the mean latency of a read request, the pages read from the server's disk on demand or for the
driver, and those read ahead into its memory. A page takes 60 us from the server's memory, 160 us from its disk.

file: a volume of which 512 MiB are read at random, 4 KiB each, by a driver with 64 MiB of memory, without and with a
cache file, in the own zone and in one 1 ms away; the runs alternate; medians. The set has been read three times before.
"""

import argparse
import concurrent.futures
import datetime
import json
import math
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "system"))
from lab import FORESHARD, MIB, Attachment, Lab, Region  # noqa: E402

SPAN = 512 * MIB


def replay(task):
    path, cache, options = task
    done = subprocess.run([FORESHARD, "replay", str(path), "--cache", cache, "--prefetch", "all", "-q", "-o", "json",
                           *options], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{path.name}: {done.stderr}")
    return json.loads(done.stdout)


def servers(args):
    yield "| trace | mean us, without | with | ratio | misses | with | from disk | with | read ahead there |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    ratios = []
    traces = sorted(path for path in args.traces.rglob("*.csv*") if "sealed" not in path.name)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        tasks = [(path, args.cache, options) for path in traces for options in ([], ["--warm-servers"])]
        found = pool.map(replay, tasks)
        for path, without, warm in zip(traces, *[iter(found)] * 2):
            ratio = warm["mean_latency_us"] / without["mean_latency_us"]
            ratios.append(ratio)
            yield (f"| {path.name.split('.')[0]} | {without['mean_latency_us']:.1f} | {warm['mean_latency_us']:.1f} | "
                   f"{ratio:.3f} | {without['read_request_miss_ratio']:.4f} | {warm['read_request_miss_ratio']:.4f} | "
                   f"{without['server_disk_pages']:,} | {warm['server_disk_pages']:,} | {warm['warmed_pages']:,} |")
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        yield f"| geometric mean | | | {mean:.3f} | | | | | |"


def load(lab, attachment, op, *words):
    done = lab.run(ROOT / "build" / "nbd_load", attachment.uri, op, "--span", SPAN, "--pid", attachment.process.pid,
                   *words)
    if done.returncode != 0:
        raise RuntimeError(f"{done.args}: {done.stderr}")
    return json.loads(done.stdout)


def file_rows(args, lab, latency):
    region = Region(lab, name=f"region-{latency}", zones="a,b", servers_per_zone=1,
                    options=("--latency", f"a:b={latency}", "--server-cache", "1M") if latency != "0" else
                    ("--server-cache", "1M"))
    where = "a" if latency == "0" else "b"
    drivers = {}
    for name, options in (("memory alone", ()),
                          ("with a cache file", ("--cache-file", lab.dir / f"file-{latency}", "--cache-file-size", "1G",
                                                 "--cache-file-writes", "1G"))):
        volume = name.split()[0]
        region.create(volume, size="1G", volumelet="16M", options=("--zone", where))
        drivers[name] = Attachment(region, volume, cache="64M", options=("--zone", "a", *options))
        load(lab, drivers[name], "seqwrite", "--bs", 128 * 1024, "--qd", 8, "--once")
        for _ in range(3):
            load(lab, drivers[name], "randread", "--qd", 32, "--once")
    for depth in (1, 32):
        figures = {name: [] for name in drivers}
        for run in range(args.runs):
            for name, driver in drivers.items():
                figures[name].append(load(lab, driver, "randread", "--qd", depth, "--seconds", args.seconds, "--seed",
                                          run + 1))
        base = None
        for name, runs in figures.items():
            iops, p50, p99, cpu = (statistics.median(run[key] for run in runs)
                                   for key in ("iops", "p50_us", "p99_us", "server_cpu_us"))
            base = base or iops
            yield (f"| {'own zone' if latency == '0' else latency + ' away'} | {depth} | {name} | {iops:,.0f} | "
                   f"{p50:.0f} / {p99:.0f} | {cpu:.1f} | {iops / base:.2f} |")
    for driver in drivers.values():
        driver.stop()
    region.stop()
    region.forget()


def cache_file(args):
    yield "| volume | depth | driver | IOPS | p50 / p99 us | CPU us/IO of attach | IOPS to memory alone |"
    yield "|---|--:|---|--:|--:|--:|--:|"
    lab = Lab()
    for latency in ("0", "1ms"):
        yield from file_rows(args, lab, latency)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", default="servers,file")
    parser.add_argument("--traces", type=pathlib.Path, default=ROOT.parent / "shared" / "traces")
    parser.add_argument("--cache", default="5%")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--append", metavar="FILE", help="add the tables to this file")
    args = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True,
                            check=False).stdout.strip()
    lines = [f"## Where data goes, {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M}, commit {commit}"]
    print(lines[0])
    for job, run in (("servers", servers), ("file", cache_file)):
        if job not in args.jobs.split(","):
            continue
        lines.append("")
        print()
        for line in run(args):
            lines.append(line)
            print(line, flush=True)
    if args.append:
        with open(args.append, "a", encoding="utf-8") as out:
            out.write("\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
