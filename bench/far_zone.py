#!/usr/bin/env python3
"""What prefetching does for a volume in another zone: a VM that boots, and a git checkout and a compile inside a file
system, each with prefetching off, with readahead alone and with everything, in one run.

The volume lies in zone b, its driver in zone a; every round trip between them takes --latency longer. Rows: seconds,
read requests of the client, how many of them waited for the far zone, pages fetched ahead and how many of those were
used. "Off" is mode shadow, which fetches nothing and keeps count.

  boot      to the guest's power off; QEMU emulates it in software, so that much of the time is CPU, not waiting
  checkout  `git checkout` of another branch that differs in half of 2,000 small files
  compile   gcc, one after the other, of 60 small C files with headers of the same file system

The file system is ext4 over a loop device over nbdfuse. Run 2 is the same again on the same attachment, after the
driver's cache was emptied by reading another part of the volume, with nothing left in the kernel's (mounted anew;
before it, git goes back to the first branch): it shows what the log of past misses is worth. Run "other VM" is the
first run on another copy of the image, attached anew, after the first VM has gone: it shows what is carried over. Each
way of prefetching has an image of its own, so that it learns nothing from the ones before it.

Prints a markdown table; --append FILE also adds it to a file. Checkout and compile take root; without it they are
skipped."""

import argparse
import datetime
import os
import pathlib
import random
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "system"))
import guest  # noqa: E402
import mounted  # noqa: E402
from lab import Attachment, Lab, MIB, Region  # noqa: E402

SIZE = 512 * MIB
MODES = (("off", "shadow", ()), ("readahead", "on", ("--prefetch-experts", "sequential")), ("on", "on", ()))
GIT = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "bench",
       "GIT_AUTHOR_EMAIL": "bench", "GIT_COMMITTER_NAME": "bench", "GIT_COMMITTER_EMAIL": "bench",
       "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z"}


def waited(region, volume):
    status = region.json("prefetch", "stats", volume)
    return status["read_requests"], status["missed_requests"], status["pages"]["issued"], status["pages"]["used"]


def row(job, latency, mode, number, seconds, before, after):
    requests, missed = after[0] - before[0], after[1] - before[1]
    issued, used = after[2] - before[2], after[3] - before[3]
    precision = f"{used / issued:.2f}" if issued else "-"
    return f"| {job} | {latency} | {mode} | {number} | {seconds:.2f} | {requests} | {missed} | {issued} | {precision} |"


def drain(attachment):
    """Reads what no job needs until nothing of the job is cached."""
    subprocess.run(["qemu-io", "-f", "raw", "-r", "-c", f"read -q {SIZE - 128 * MIB} {96 * MIB}", attachment.uri],
                   check=True, stdout=subprocess.DEVNULL)


def attached(region, image, volume, name, prefetch, options):
    done = region.cli("volume", "import", image, volume, "--zone", "b", "--volumelet-size", "16M", "--image", name)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return Attachment(region, volume, cache="32M", prefetch=prefetch, options=("--zone", "a", *options))


def gone(region, attachment):
    attachment.stop()
    region.cli("volume", "rm", attachment.volume, "--yes")


# ---- boot

def boots(lab, region, latency, image):
    vmlinuz, modules = guest.kernel(lab)
    initramfs = lab.dir / "initramfs.gz"
    if not initramfs.exists():
        guest.initramfs(lab, modules)
    for name, prefetch, options in MODES:
        for other in (False, True):
            volume = f"boot-{name}" + ("-other" if other else "")
            attachment = attached(region, image, volume, f"boot-{name}", prefetch, options)
            for boot in (1,) if other else (1, 2):
                before, begin = waited(region, volume), time.monotonic()
                console = guest.boot(lab, vmlinuz, initramfs, attachment.socket, volume)
                seconds = time.monotonic() - begin
                if f"GUEST: boot {boot} done" not in console or "GUEST: tree intact" not in console:
                    raise RuntimeError(console)
                yield row("boot", latency, name, "other VM" if other else boot, seconds, before, waited(region, volume))
                drain(attachment)
            gone(region, attachment)


# ---- checkout

def git(repository, *words):
    subprocess.run(["git", "-C", str(repository), *words], check=True, env={**os.environ, **GIT},
                   stdout=subprocess.DEVNULL)


def settle_index(repository):
    """Git reads again what was written in the second of its index: that second is over, and the index is newer."""
    time.sleep(1.1)
    git(repository, "update-index", "-q", "--really-refresh")
    git(repository, "status", "--porcelain")
    (repository / ".git" / "index").touch()


def text(pick, size):
    words = [f"{pick.choice('bcdfgklmnprstv')}{pick.choice('aeiou')}{pick.choice('lmnrst')}{pick.randrange(90)}"
             for _ in range(200)]
    lines, length = [], 0
    while length < size:
        lines.append(" ".join(pick.choices(words, k=8)) + "\n")
        length += len(lines[-1])
    return "".join(lines)


def make_repository(top):
    """Branches main, checked out, and other, which differs in half of the files; packed."""
    pick, repository = random.Random(1), top / "repository"
    repository.mkdir()
    git(repository, "init", "-q", "-b", "main")
    files = [repository / f"part{n % 40}" / f"file{n}.txt" for n in range(2000)]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_text(text(pick, pick.randrange(200, 9000)), encoding="ascii")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "all")
    git(repository, "checkout", "-q", "-b", "other")
    for file in pick.sample(files, len(files) // 2):
        file.write_text(text(pick, pick.randrange(200, 9000)), encoding="ascii")
    git(repository, "commit", "-q", "-a", "-m", "half of it")
    git(repository, "checkout", "-q", "main")
    git(repository, "gc", "-q", "--prune=now")
    settle_index(repository)


def checkout(top):
    git(top / "repository", "checkout", "-q", "other")


def go_back(top):
    git(top / "repository", "checkout", "-q", "main")
    settle_index(top / "repository")


# ---- compile

def make_sources(top):
    """60 C files over 150 headers that include each other."""
    pick = random.Random(2)
    for folder in ("include", "source", "object"):
        (top / folder).mkdir()
    headers = [f"part{n % 10}/header{n}.h" for n in range(150)]
    for n, name in enumerate(headers):
        lines = ["#pragma once", f"/*\n{text(pick, pick.randrange(500, 6000))}*/"]
        lines += [f'#include "{other}"' for other in pick.sample(headers[:n], min(n, 2))]
        for i in range(pick.randrange(3, 15)):
            lines.append(f"struct item_{n}_{i} {{ long first; int second[{pick.randrange(1, 9)}]; }};\n"
                         f"static inline long sum_{n}_{i}(const struct item_{n}_{i} *item) "
                         f"{{ return item->first + item->second[0] * {pick.randrange(99)}; }}")
        file = top / "include" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("\n".join(lines) + "\n", encoding="ascii")
    for n in range(60):
        used = pick.sample(range(len(headers)), 8)
        lines = [f'#include "{headers[i]}"' for i in used]
        lines += [f"long work_{n}_{i}(const struct item_{i}_0 *item) {{ return sum_{i}_0(item) * {n}; }}" for i in used]
        (top / "source" / f"file{n}.c").write_text("\n".join(lines) + "\n", encoding="ascii")


def build(top):
    for n in range(60):
        subprocess.run(["gcc", "-O0", "-I", top / "include", "-c", top / "source" / f"file{n}.c", "-o",
                        top / "object" / f"file{n}.o"], check=True)


JOBS = {"checkout": (checkout, go_back), "compile": (build, lambda top: None)}


def measured(lab, region, attachment, job, again=False):
    """One run in a file system whose pages are not cached in this host; (seconds, counters before, after)."""
    work, back = JOBS[job]
    with mounted.volume_mounted(lab, attachment.uri, lab.dir / "mnt") as top:
        before, begin = waited(region, attachment.volume), time.monotonic()
        work(top)
        seconds, after = time.monotonic() - begin, waited(region, attachment.volume)
        if again:
            back(top)
    drain(attachment)
    return seconds, before, after


def in_a_file_system(lab, region, latency, image, job):
    for name, prefetch, options in MODES:
        attachment = attached(region, image, f"{job}-{name}", f"{job}-{name}", prefetch, options)
        for number in (1, 2):
            yield row(job, latency, name, number, *measured(lab, region, attachment, job, again=number == 1))
        gone(region, attachment)
        attachment = attached(region, image, f"{job}-{name}-other", f"{job}-{name}", prefetch, options)
        yield row(job, latency, name, "other VM", *measured(lab, region, attachment, job))
        gone(region, attachment)


def jobs_of(lab, wanted):
    """(job, image) of each that can be done here, and why the others cannot."""
    found, skipped = [], []
    if "boot" in wanted:
        if guest.kernel(lab) is None:
            skipped.append("boot: skipped, cannot download a Debian cloud kernel")
        else:
            found.append(("boot", guest.disk_image(lab, SIZE)))
    others = [job for job in JOBS if job in wanted]
    reason = mounted.absent()
    if others and reason:
        skipped += [f"{job}: skipped, {reason}" for job in others]
    elif others:
        image = lab.dir / "files.img"

        def fill(top):
            make_repository(top)
            make_sources(top)

        mounted.make_image(image, SIZE, fill, lab.dir / "mnt")
        found += [(job, image) for job in others]
    return found, skipped


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", action="append", help="of the far zone, such as 1ms; repeatable")
    parser.add_argument("--jobs", default="boot,checkout,compile", help="which of them, with commas")
    parser.add_argument("--append", metavar="FILE", help="add the table to this file")
    arguments = parser.parse_args()
    lab = Lab()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True,
                            check=False).stdout.strip()
    lines = [f"## A far zone, {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M}, commit {commit}", "",
             "| job | latency | prefetch | run | seconds | read requests | waited for the zone | pages fetched ahead "
             "| used |", "|---|---|---|--:|--:|--:|--:|--:|--:|"]
    jobs, skipped = jobs_of(lab, arguments.jobs.split(","))
    print("\n".join(lines), flush=True)
    for latency in arguments.latency or ["1ms", "5ms"]:
        region = Region(lab, name=f"region-{latency}", zones="a,b", servers_per_zone=1,
                        options=("--latency", f"a:b={latency}"))
        for job, image in jobs:
            rows = boots(lab, region, latency, image) if job == "boot" else in_a_file_system(lab, region, latency,
                                                                                             image, job)
            for line in rows:
                lines.append(line)
                print(line, flush=True)
        region.stop()
        region.forget()
    if skipped:
        lines += ["", *skipped]
        print("\n" + "\n".join(skipped))
    if arguments.append:
        with open(arguments.append, "a", encoding="utf-8") as out:
            out.write("\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
