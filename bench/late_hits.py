#!/usr/bin/python3
"""How much of what is fetched ahead arrives in time when the volume is far away: replays the traces that have real
arrival times with fetches of 1 ms and 5 ms, with plain readahead and with all experts, both under the replacement of
drivers, and prints a line each. Every cell: readahead / all experts (the second as a multiple of the first).

  late_hits.py [FOLDER] [--fetch-us 1000,5000] [--cache 5%] [--append FILE]

useful: pages fetched ahead that were read. in time: the share of them that had arrived when they were asked for; "came
in time" is their number. misses, late: shares of the read requests of which a page was not there, or none was missing
but one still on its way. mean: latency of a read request; one late by a bit waits for that bit.

FOLDER (../shared/traces, beside the repository) is searched for NAME.csv and NAME.csv.zst. A trace that is not there,
or has no times, is skipped with a line. A trace recorded in pseudo-time is not among them."""

import argparse
import concurrent.futures
import datetime
import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]
TIMED = ("cp_vscsi", "hp_ajw_week_d1to4", "umass_wsrch_small", "llm_opt7b", "msr_postmark", "tencent_cbs_evenvol",
         "heimdall_msr105", "heimdall_msr1006", "hadoop_blk", "ssdsim_example", "heimdall_traceB",
         "strace_cmake_build", "nfs_beefs_10min", "hpc_cm1_48rank", "dlio_unet3d")
POLICIES = ("readahead", "all")


def find(folder, name):
    return next((path for suffix in (".csv.zst", ".csv") for path in sorted(folder.rglob(name + suffix))), None)


def replay(task):
    program, path, cache, fetch_us, policy = task
    done = subprocess.run([program, "replay", str(path), "--cache", cache, "--prefetch", policy, "--fetch-us", fetch_us,
                           "-o", "json"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{path.name} {policy}: {done.stderr}")
    return json.loads(done.stdout)


def pair(one, other, form):
    ratio = f"{other / one:.2f}" if one else "-"
    return f"{form.format(one)} / {form.format(other)} ({ratio})"


def row(name, fetch_us, readahead, everything):
    both = (readahead, everything)
    useful = [one["used_bytes"] // 4096 for one in both]
    in_time = [round(pages * one["in_time_ratio"]) for pages, one in zip(useful, both)]
    cells = [name, f"{float(fetch_us) / 1000:g} ms", pair(*useful, "{:,}"),
             pair(*(one["in_time_ratio"] for one in both), "{:.3f}"), pair(*in_time, "{:,}"),
             pair(*(one["read_request_miss_ratio"] for one in both), "{:.4f}"),
             pair(*(one["late_ratio"] for one in both), "{:.4f}"),
             pair(*(one["mean_latency_us"] for one in both), "{:,.0f}")]
    return f"| {' | '.join(cells)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=ROOT.parent / "shared" / "traces")
    parser.add_argument("--fetch-us", default="1000,5000", help="what a fetch takes; several with commas")
    parser.add_argument("--cache", default="5%")
    parser.add_argument("--jobs", type=int, default=1, help="replays at a time")
    parser.add_argument("--program", default=str(ROOT / "build" / "foreshard"))
    parser.add_argument("--append", metavar="FILE", help="add the table to this file")
    args = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True,
                            check=False).stdout.strip()
    lines = [f"## Late hits, {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M}, commit {commit}", "",
             f"`bench/late_hits.py`, cache {args.cache}: readahead / all experts (the second as a multiple of the "
             "first).", "",
             "| trace | a fetch | useful pages | in time | came in time | misses | late | mean us |",
             "|---|--:|--:|--:|--:|--:|--:|--:|"]
    print("\n".join(lines), flush=True)
    skipped = []
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        tasks = []
        for name in TIMED:
            path = find(args.folder, name)
            if path is None:
                skipped.append(f"{name}: skipped, it is not in {args.folder.name}/")
                continue
            tasks += [(name, fetch_us, [pool.submit(replay, (args.program, path, args.cache, fetch_us, policy))
                                        for policy in POLICIES]) for fetch_us in args.fetch_us.split(",")]
        for name, fetch_us, results in tasks:
            readahead, everything = (result.result() for result in results)
            if not readahead["has_times"]:
                skipped.append(f"{name}: skipped, it has no times")
                continue
            lines.append(row(name, fetch_us, readahead, everything))
            print(lines[-1], flush=True)
    if skipped:
        lines += ["", *sorted(set(skipped))]
        print("\n" + "\n".join(sorted(set(skipped))))
    if args.append:
        with open(args.append, "a", encoding="utf-8") as out:
            out.write("\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
