#!/usr/bin/python3
"""What ./run shows, once foreshard is built: a region, an imported disk image, real clients, every byte verified.
Every figure comes from a counter of the region or from a client's own output of this run."""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "system"))
from lab import Attachment, Lab, MIB, ROOT, Region, same  # noqa: E402

IMAGE_BYTES = 512 * MIB
TREE_BYTES_MAX = 256 * MIB
VOLUMELET = 16 * MIB


def say(text=""):
    print(text, flush=True)


def mib(size):
    return f"{size / MIB:,.1f} MiB"


class Watcher:
    """While it is entered, prints each second what the driver's counters say has happened since the last one."""

    def __init__(self, region, volume):
        self.region, self.volume = region, volume
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def _watch(self):
        before, at = counters(self.region, self.volume), time.monotonic()
        while not self.ended.wait(1):
            now, then = counters(self.region, self.volume), time.monotonic()
            if now is None:
                say("    the region does not answer; requests wait in the driver")
            if now is None or before is None:
                before, at = now, then
                continue
            rate = {key: (now[key] - before[key]) / (then - at) for key in now if isinstance(now[key], int)}
            looked = rate["cache_hits"] + rate["cache_misses"]
            hit = f"{100 * rate['cache_hits'] / looked:.0f} %" if looked > 0 else "-"
            prefetch = now["prefetch"]
            say(f"    read {rate['read_bytes'] / MIB:7.1f} MiB/s {rate['reads']:8,.0f}/s   "
                f"write {rate['written_bytes'] / MIB:7.1f} MiB/s {rate['writes']:8,.0f}/s   cache hits {hit:>5}   "
                f"prefetched {prefetch['issued_pages']:,} pages, {prefetch['used_pages']:,} used, "
                f"{prefetch['wasted_pages']:,} wasted")
            before, at = now, then


def counters(region, volume):
    """The driver's counters; nothing while the region cannot be asked who drives the volume."""
    done = region.cli("volume", "info", volume, "-o", "json")
    return json.loads(done.stdout).get("driver") if done.returncode == 0 else None


def make_image(lab):
    """An ext4 image that holds a real tree of files: this repository and the system's headers and documents."""
    tree = lab.dir / "tree"
    tree.mkdir()
    room = TREE_BYTES_MAX
    for source in (ROOT / "src", ROOT / "docs", pathlib.Path("/usr/include"), pathlib.Path("/usr/share/doc"),
                   pathlib.Path("/usr/share/perl")):
        if not source.is_dir():
            continue
        for file in sorted(source.rglob("*")):
            if file.is_symlink() or not file.is_file() or file.stat().st_size > room:
                continue
            target = tree / source.name / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
            room -= file.stat().st_size + 4096
    files = sum(1 for path in tree.rglob("*") if path.is_file())
    image = lab.dir / "disk.img"
    with open(image, "wb") as out:
        out.truncate(IMAGE_BYTES)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, image], check=True)
    say(f"  ext4 image of {mib(IMAGE_BYTES)} with {files:,} files, {mib(TREE_BYTES_MAX - room)}")
    return tree, image, files


def fio(lab, uri, name, *options):
    """Runs fio's NBD engine with verification; a line of its own figures."""
    done = lab.run("fio", "--name=run", "--ioengine=nbd", f"--uri={uri}", "--output-format=json",
                   "--verify_state_save=0", *options, cwd=lab.dir)
    lab.check(f"fio {name}", done.returncode == 0, done.stdout[-500:] + done.stderr)
    if done.returncode != 0:
        return None
    job = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]
    parts = []
    for way in ("read", "write"):
        ran = job[way]
        if ran["io_bytes"] == 0:
            continue
        percentile = ran["clat_ns"].get("percentile", {})
        p50, p99 = (percentile.get(key, 0) / 1000 for key in ("50.000000", "99.000000"))
        parts.append(f"{way} {ran['bw_bytes'] / MIB:,.0f} MiB/s, {ran['iops']:,.0f} IOPS, "
                     f"p50 {p50:,.0f} us, p99 {p99:,.0f} us")
    return f"{name}: " + "; ".join(parts)


def timed_copy(lab, what, source, target):
    begin = time.monotonic()
    done = lab.run("nbdcopy", "--connections=4", source, target)
    lab.check(what, done.returncode == 0, done.stderr)
    return f"{what}: {IMAGE_BYTES / MIB / (time.monotonic() - begin):,.0f} MiB/s"


def check_tree(lab, tree, image):
    """The file system on the image is clean and holds the tree, file for file."""
    lab.check("e2fsck is clean", lab.run("e2fsck", "-fn", image).returncode == 0)
    out = lab.dir / "unpacked"
    out.mkdir()
    lab.run("debugfs", "-R", f"rdump / {out}", image)
    shutil.rmtree(out / "lost+found", ignore_errors=True)
    lab.check("every file is as it was", lab.run("diff", "-r", tree, out).returncode == 0)


def tour(lab, region, figures):
    say("\n== a disk image that holds a real tree of files")
    tree, image, files = make_image(lab)

    say("\n== import it")
    begin = time.monotonic()
    done = region.cli("volume", "import", image, "disk1", "--volumelet-size", VOLUMELET)
    lab.check("import", done.returncode == 0, done.stderr)
    figures.append(f"import: {IMAGE_BYTES / MIB / (time.monotonic() - begin):,.0f} MiB/s (zeros are skipped)")

    say("\n== where its volumelets lie")
    say(region.cli("volume", "layout", "disk1").stdout)

    say("== attach it over NBD and read it back with nbdcopy, four connections")
    attachment = Attachment(region, "disk1", cache="64M", prefetch="on")
    with Watcher(region, "disk1"):
        figures.append(timed_copy(lab, "copy out", attachment.uri, lab.dir / "copy.img"))
    lab.check("every byte equals the image", same(image, lab.dir / "copy.img"))

    say("\n== read it as a VM's readahead would: 64 KiB at a time, in order")
    with Watcher(region, "disk1"):
        figures.append(fio(lab, attachment.uri, "sequential read, 64 KiB, one at a time", "--rw=read", "--bs=64k",
                           "--iodepth=1", "--size=256m"))
    prefetch = region.json("prefetch", "stats", "disk1")

    say("\n== a second volume: random writes and reads, verified by fio")
    region.create("scratch", size=IMAGE_BYTES, volumelet=VOLUMELET)
    second = Attachment(region, "scratch", cache="64M", prefetch="on")
    with Watcher(region, "scratch"):
        figures.append(fio(lab, second.uri, "random 4 KiB write then verify, depth 16", "--rw=randwrite", "--bs=4k",
                           "--iodepth=16", "--size=128m", "--io_size=64m", "--verify=crc32c", "--do_verify=1"))
        figures.append(fio(lab, second.uri, "random 4 KiB read, depth 16", "--rw=randread", "--bs=4k", "--iodepth=16",
                           "--size=128m", "--io_size=64m"))

    say("\n== kill -9 the region in the middle of writes, start it again: the clients only see a pause")
    writer = threading.Thread(target=lambda: figures.append(fio(
        lab, second.uri, "random writes across the crash", "--rw=randwrite", "--bs=16k", "--iodepth=8", "--size=128m",
        "--time_based", "--runtime=8", "--verify=crc32c", "--do_verify=1")))
    writer.start()
    with Watcher(region, "scratch"):
        time.sleep(3)
        region.kill()
        time.sleep(2)
        region.start()
        writer.join()
    lab.check("the driver lived on", attachment.process.poll() is None and second.process.poll() is None)

    say("\n== where it was hot")
    say(region.cli("volume", "heat", "scratch", "--top", "6").stdout)

    say("== after the crash: every byte of the image once more, and the files in it")
    figures.append(timed_copy(lab, "copy out after the crash", attachment.uri, lab.dir / "copy.img"))
    lab.check("every byte equals the image", same(image, lab.dir / "copy.img"))
    check_tree(lab, tree, lab.dir / "copy.img")
    return attachment, second, prefetch, files


def summary(lab, region, figures, prefetch, files):
    say("\n== summary")
    for figure in filter(None, figures):
        say(f"  {figure}")
    issued = prefetch["issued_pages"]
    say(f"  prefetch of disk1: {issued:,} pages, {prefetch['used_pages']:,} used, {prefetch['late_pages']:,} late, "
        f"{prefetch['wasted_pages']:,} wasted")
    servers = len(region.json("server", "ls"))
    say(f"  servers: {servers} in 3 zones; verified: {mib(IMAGE_BYTES)} twice, {files:,} files")
    say(f"  checks: {lab.passed} passed, {lab.failed} failed")


def main():
    parser = argparse.ArgumentParser(prog="./run", description=__doc__)
    parser.add_argument("--stay", action="store_true", help="leave the region up and print its NBD URI")
    arguments = parser.parse_args()
    lab = Lab()
    say(f"\n== a region of three zones with two servers each, in {lab.dir}")
    region = Region(lab)
    say(region.cli("server", "ls").stdout)
    figures = []
    attachment, second, prefetch, files = tour(lab, region, figures)
    summary(lab, region, figures, prefetch, files)

    binary = "build/foreshard"
    if arguments.stay and not lab.failed:
        lab.leave_running()
        say(f"\nthe region stays up (processes {region.process.pid}, {attachment.process.pid}, {second.process.pid})")
        say(f"  NBD: {attachment.uri}\n  NBD: {second.uri}")
        say("try next:")
        say(f"  export FORESHARD_REGION={region.address}")
        for words in ("server ls", "volume info disk1", "volume heat disk1", "prefetch stats disk1"):
            say(f"  {binary} {words}")
        say(f"  nbdinfo '{attachment.uri}'")
        say(f"  {binary} detach disk1; kill {region.process.pid}   # the clean end; then rm -r {lab.dir}")
    else:
        for one in (attachment, second):
            lab.check(f"clean detach of {one.volume}", one.stop(), one.log())
        lab.check("clean stop of the region", region.stop(), region.log())
        say("\ntry next:")
        say("  ./run --stay")
        say(f"  {binary} up --dir /tmp/my-region --zones a,b,c --servers-per-zone 2")
        say(f"  {binary} volume create disk1 --size 10G --region unix:/tmp/my-region/foreshard.sock")
        say(f"  {binary} attach disk1 --nbd unix:/tmp/disk1.sock --cache 256M --prefetch on "
            "--region unix:/tmp/my-region/foreshard.sock")
        say(f"  {binary} --help")
    sys.exit(1 if lab.failed else 0)


if __name__ == "__main__":
    main()
