#!/usr/bin/python3
"""Replays every trace of a folder and prints a line each: read-request miss ratio @ precision of no prefetching, of the
baselines, of readahead, and of all experts, with the ratio of the experts' misses to those of the baselines.

  replay_table.py FOLDER [--cache 1%,5%,10%] [--recurring NAME,NAME...] [--policies none,baseline,readahead,all]
                  [--budget frugal] [--json FILE] [-- MORE OPTIONS OF replay]

A policy may name its replacement: all:default is compared with the others under --replacement (plain LRU).

FOLDER is searched for *.csv and *.csv.zst. Over the traces named by --recurring (parts of names) the mean of the ratios
is printed, and the precision weighted by prefetched bytes. Controls, on which nothing can be predicted, come last: the
requests of the trace named by --shuffle in two random orders, random reads, uniform and of popular pages, and the
traces named by --controls.
"""

import argparse
import bisect
import concurrent.futures
import itertools
import json
import pathlib
import random
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]


def shuffled(trace, folder, order):
    """The trace's requests in random order, its times where they were."""
    read = subprocess.run(["zstd", "-dcf", str(trace)], capture_output=True, check=True, text=True).stdout.splitlines()
    rows = [line.split(",", 1) for line in read[1:]]
    rest = [row[1] for row in rows]
    random.Random(order).shuffle(rest)
    path = folder / f"shuffled_{order}_{trace.name.split('.')[0]}.csv"
    path.write_text(read[0] + "\n" + "".join(f"{row[0]},{text}\n" for row, text in zip(rows, rest)), encoding="ascii")
    return path


def random_reads(folder, name, requests, next_page):
    path = folder / f"{name}.csv"
    path.write_text("ts_us,vol,offset,size,op\n" + "".join(
        f"{i * 1000},0,{next_page() * 4096},4096,R\n" for i in range(requests)), encoding="ascii")
    return path


def uniform(folder, pages=200000):
    pick = random.Random(2)
    return random_reads(folder, "uniform_random", 100000, lambda: pick.randrange(pages))


def popular(folder, pages=50000):
    """Each page as often as one over its rank says, to the power of .9; the ranks lie anywhere."""
    pick = random.Random(3)
    places = list(range(pages))
    pick.shuffle(places)
    weights = list(itertools.accumulate((rank + 1) ** -0.9 for rank in range(pages)))
    return random_reads(folder, "popular_random", 300000,
                        lambda: places[bisect.bisect(weights, pick.random() * weights[-1])])


def replay(task):
    program, trace, cache, policy, replacement, options = task
    name, _, own_replacement = policy.partition(":")
    command = [program, "replay", str(trace), "--cache", cache, "--prefetch", name, "--replacement",
               own_replacement or replacement, "-o", "json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{trace.name} {policy}: {done.stderr}")
    return json.loads(done.stdout)


def short(path):
    return path.name.split(".")[0]


def figure(one):
    return f"{one['read_request_miss_ratio']:.4f} @ {one['precision']:.3f}"


def table(cache, traces, controls, policies, found, recurring):
    head = ["trace"] + policies + ["ratio to B", "to none", "ECE", "Brier/base", "extra", "in time", "ns a request",
                                 "ns a page"]
    print(f"\n## cache {cache}\n\n| {' | '.join(head)} |\n|---|{'--:|' * (len(head) - 1)}")
    ratios, used, fetched = [], 0, 0
    for trace in traces + controls:
        one = {policy: found[trace, cache, policy] for policy in policies}
        last = one[policies[-1]]
        base = one.get("baseline")
        miss = last["read_request_miss_ratio"]
        ratio = miss / base["read_request_miss_ratio"] if base and base["read_request_miss_ratio"] else float("nan")
        none = miss - one["none"]["read_request_miss_ratio"] if "none" in one else float("nan")
        chosen = any(part in short(trace) for part in recurring) and trace in traces
        if chosen:
            ratios.append(ratio)
            used += last["used_bytes"]
            fetched += last["prefetched_bytes"]
        brier = last["brier"] / last["brier_base"] if last["brier_base"] else float("nan")
        print(f"| {short(trace)}{' *' if chosen else ''} | " + " | ".join(figure(one[policy]) for policy in policies)
              + f" | {ratio:.3f} | {none:+.4f} | {last['ece']:.3f} | {brier:.2f} |"
              f" {last['wasted_bytes'] / max(1, last['read_bytes']):.3f} | {last['in_time_ratio']:.3f} |"
              f" {last['predict_ns_per_request']:.0f} | {last['predict_ns_per_access']:.0f} |")
    if ratios:
        print(f"\nmean of the ratios over the {len(ratios)} marked *: {sum(ratios) / len(ratios):.3f}; "
              f"precision weighted by bytes {used / max(1, fetched):.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--cache", default="5%")
    parser.add_argument("--recurring", default="")
    parser.add_argument("--policies", default="none,baseline,readahead,all")
    parser.add_argument("--only", default="", help="parts of names; other traces are left out")
    parser.add_argument("--shuffle", default="", help="part of the name of the trace that is shuffled for a control")
    parser.add_argument("--controls", default="", help="parts of names of traces that are controls")
    parser.add_argument("--replacement", default="lru")
    parser.add_argument("--budget", default="normal")
    parser.add_argument("--program", default=str(ROOT / "build" / "foreshard"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path, help="all figures go here")
    parser.add_argument("options", nargs="*", help="more options of replay, behind --")
    args = parser.parse_args()

    def parts(text):
        return [part for part in text.split(",") if part]

    traces = sorted(path for path in args.folder.rglob("*") if path.name.endswith((".csv", ".csv.zst")))
    only, policies, caches = parts(args.only), parts(args.policies), parts(args.cache)
    traces = [trace for trace in traces if not only or any(part in short(trace) for part in only)]
    if not traces:
        sys.exit(f"no traces in {args.folder}")
    with tempfile.TemporaryDirectory(prefix="foreshard-replay.") as folder:
        folder = pathlib.Path(folder)
        controls = [trace for trace in traces if any(part in short(trace) for part in parts(args.controls))]
        traces = [trace for trace in traces if trace not in controls]
        controls += [shuffled(trace, folder, order) for trace in traces
                     if args.shuffle and args.shuffle in short(trace) for order in (1, 2)]
        controls += [uniform(folder), popular(folder)]
        options = ["--budget", args.budget, *args.options]
        tasks = [(args.program, trace, cache, policy, args.replacement, options)
                 for trace in traces + controls for cache in caches for policy in policies]
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            found = dict(zip([task[1:4] for task in tasks], pool.map(replay, tasks)))
        for cache in caches:
            table(cache, traces, controls, policies, found, parts(args.recurring))
        if args.json:
            figures = [dict(one, trace=short(key[0]), cache=key[1]) for key, one in found.items()]
            args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
