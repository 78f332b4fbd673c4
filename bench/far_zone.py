#!/usr/bin/env python3
"""What prefetching does for a volume in another zone: a VM that boots, and a git checkout and a compile inside a file
system, each with prefetching off, with readahead alone and with everything, in one run.

The volume lies in zone b, its driver in zone a; every round trip between them takes --latency longer. Rows: seconds to
the line that the guest prints, requests of the client, how many of them waited for the far zone, and how many of the
fetched pages were used. The second boot is of the same attachment, with its cache emptied in between by reading
another part of the volume: it shows what the log of past misses is worth. QEMU emulates the guest in software, so that
much of its time is CPU, not waiting. "Off" is mode shadow, which fetches nothing and keeps count.

Prints a markdown table; --append FILE also adds it to a file."""

import argparse
import datetime
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "system"))
import guest  # noqa: E402
from lab import Attachment, Lab, MIB, Region  # noqa: E402

SIZE = 512 * MIB
MODES = (("off", "shadow", ()), ("readahead", "on", ("--prefetch-experts", "sequential")), ("on", "on", ()))


def waited(region, volume):
    status = region.json("prefetch", "stats", volume)
    return status["read_requests"], status["missed_requests"], status["pages"]["issued"], status["pages"]["used"]


def row(job, latency, mode, boot, seconds, before, after):
    requests, missed = after[0] - before[0], after[1] - before[1]
    issued, used = after[2] - before[2], after[3] - before[3]
    precision = f"{used / issued:.2f}" if issued else "-"
    return f"| {job} | {latency} | {mode} | {boot} | {seconds:.2f} | {requests} | {missed} | {issued} | {precision} |"


def drain(attachment):
    """Reads what no boot needs until nothing of the boot is cached."""
    subprocess.run(["qemu-io", "-f", "raw", "-r", "-c", f"read -q {SIZE - 128 * MIB} {96 * MIB}", attachment.uri],
                   check=True, stdout=subprocess.DEVNULL)


def boots(lab, region, latency, image):
    vmlinuz, modules = guest.kernel(lab)
    initramfs = lab.dir / "initramfs.gz"
    if not initramfs.exists():
        guest.initramfs(lab, modules)
    for name, prefetch, options in MODES:
        volume = f"boot-{name}"
        region.cli("volume", "import", image, volume, "--zone", "b", "--volumelet-size", "16M")
        attachment = Attachment(region, volume, cache="32M", prefetch=prefetch, options=("--zone", "a", *options))
        for boot in (1, 2):
            before, begin = waited(region, volume), time.monotonic()
            console = guest.boot(lab, vmlinuz, initramfs, attachment.socket, volume)
            seconds = time.monotonic() - begin
            if f"GUEST: boot {boot} done" not in console or "GUEST: tree intact" not in console:
                raise RuntimeError(console)
            yield row("boot", latency, name, boot, seconds, before, waited(region, volume))
            drain(attachment)
        attachment.stop()
        region.cli("volume", "rm", volume, "--yes")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", action="append", help="of the far zone, such as 1ms; repeatable")
    parser.add_argument("--append", metavar="FILE", help="add the table to this file")
    arguments = parser.parse_args()
    lab = Lab()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True,
                            check=False).stdout.strip()
    lines = [f"## A far zone, {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M}, commit {commit}", "",
             "| job | latency | prefetch | run | seconds | read requests | waited for the zone | pages fetched ahead "
             "| used |", "|---|---|---|--:|--:|--:|--:|--:|--:|"]
    print("\n".join(lines), flush=True)
    image = guest.disk_image(lab, SIZE)
    for latency in arguments.latency or ["1ms", "5ms"]:
        region = Region(lab, name=f"region-{latency}", zones="a,b", servers_per_zone=1,
                        options=("--latency", f"a:b={latency}"))
        for line in boots(lab, region, latency, image):
            lines.append(line)
            print(line, flush=True)
        region.stop()
    if arguments.append:
        with open(arguments.append, "a", encoding="utf-8") as out:
            out.write("\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
