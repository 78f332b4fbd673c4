#!/usr/bin/env python3
"""foreshard beside nbdkit and qemu-nbd, under the same independent NBD client (bench/nbd_load.cc) in one run.

Prints a markdown table; --append FILE also adds it to a file. Every figure is the median of the runs, which
alternate between the servers so that all see the same machine. CPU per I/O: server and client share one CPU, all
processes of a server are counted, the client is not. IOPS and latency: servers on one CPU, the client on another.
Ratios are foreshard to peer; where there are two peers, to the better of them in each row.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "system"))
from lab import FORESHARD, Lab, stop  # noqa: E402

NBD_LOAD = ROOT / "build" / "nbd_load"
MIB = 1 << 20
SPAN = 1024 * MIB
SERVER_CPU, CLIENT_CPU = 0, 1
# Of the disk jobs: so little of the span is cached that it does not show.
DISK_CACHE = "1M"
# Ceph 16.2 RBD with one OSD (bluestore, client cache off, QD32) on a machine like this one: not run here, recorded.
CEPH = {"read": {"cpu": 121, "client": 66, "iops": 6860}, "write": {"cpu": 267, "client": 76, "iops": 2939}}


class Server:
    """One server under test: its processes and its URI."""

    def __init__(self, lab, name):
        self.lab, self.name, self.processes = lab, name, []
        self.socket = lab.dir / f"{name}.{len(lab.processes)}.sock"
        self.uri = f"nbd+unix:///?socket={self.socket}"

    def wait(self):
        self.lab.wait_for(f"{self.name} ready", lambda: self.lab.run("nbdinfo", "--size", self.uri).returncode == 0,
                          self.processes[-1])

    def pids(self):
        return ",".join(str(process.pid) for process in self.processes)

    def pin(self, cpu):
        for process in self.processes:
            for thread in os.listdir(f"/proc/{process.pid}/task"):
                try:
                    os.sched_setaffinity(int(thread), {cpu})
                except OSError:
                    pass  # a thread of the kernel's, or one that has ended

    def stop(self):
        for process in reversed(self.processes):
            stop(process)


class Nbdkit(Server):
    def __init__(self, lab):
        super().__init__(lab, "nbdkit-memory")
        self.processes = [lab.start("nbdkit", "-f", "-U", self.socket, "memory", str(SPAN))]
        self.wait()


class QemuNbd(Server):
    def __init__(self, lab, aio):
        super().__init__(lab, f"qemu-nbd-{aio}")
        image = lab.dir / f"{aio}.raw"
        with open(image, "wb") as file:
            file.truncate(SPAN)
        self.processes = [lab.start("qemu-nbd", "-f", "raw", "--cache=none", f"--aio={aio}", "--discard=unmap", "-t",
                                    "-e", "8", "-k", self.socket, image)]
        self.wait()


class Foreshard(Server):
    """Three zones of two servers; the driver in a process of its own, or in the region's."""

    def __init__(self, lab, name, together, cache, server_cache, prefetch="on"):
        super().__init__(lab, name)
        directory = lab.dir / f"{name}.{len(lab.processes)}"
        address = f"unix:{directory}/foreshard.sock"
        self.uri = f"nbd+unix:///v?socket={self.socket}"
        up = [FORESHARD, "up", "--dir", directory, "--zones", "a,b,c", "--servers-per-zone", "2", "--server-cache",
              server_cache]
        attach = ["--nbd", f"unix:{self.socket}", "--cache", cache, "--prefetch", prefetch]
        region = lab.start(*up, log=f"{name}.up.log")
        self.processes = [region]
        listed = [FORESHARD, "server", "ls", "--region", address]
        lab.wait_for("region up", lambda: lab.run(*listed).returncode == 0, region)
        made = lab.run(FORESHARD, "volume", "create", "v", "--size", str(SPAN), "--volumelet-size", "16M", "--region",
                       address)
        if made.returncode != 0:
            raise RuntimeError(f"volume create: {made.stderr}")
        if together:
            stop(region)
            self.processes = [lab.start(*up, "--attach", "v", *attach, log=f"{name}.together.log")]
        else:
            self.processes.append(lab.start(FORESHARD, "attach", "v", *attach, "--region", address,
                                            log=f"{name}.attach.log"))
        self.wait()


class Bench:
    def __init__(self, lab, options):
        self.lab, self.options, self.rows = lab, options, []

    def load(self, server, op, *words, cpu=CLIENT_CPU, seed=1):
        command = ["taskset", "-c", str(cpu), NBD_LOAD, server.uri, op, "--span", SPAN, "--pid", server.pids(),
                   "--seconds", self.options.seconds, "--seed", seed, *words]
        done = self.lab.run(*command)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(done.args)}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def measure(self, servers, op, *words):
        """{server: {figure: median}}; the runs alternate."""
        shared = {server.name: [] for server in servers}
        apart = {server.name: [] for server in servers}
        for run in range(self.options.runs):
            for server in servers:
                server.pin(CLIENT_CPU)
                shared[server.name].append(self.load(server, op, *words, seed=2 * run + 1))
                server.pin(SERVER_CPU)
                apart[server.name].append(self.load(server, op, *words, seed=2 * run + 2))
        figures = {}
        for name in shared:
            median = lambda runs, key: statistics.median(result[key] for result in runs)  # noqa: E731
            figures[name] = {
                "cpu": median(shared[name], "server_cpu_us"), "client": median(shared[name], "client_cpu_us"),
                "iops": median(apart[name], "iops"), "mb_s": median(apart[name], "mb_s"),
                "p50": median(apart[name], "p50_us"), "p99": median(apart[name], "p99_us")}
        return figures

    def once(self, servers, op, *words):
        """The first pass over the span: there is only one."""
        figures = {}
        for server in servers:
            server.pin(SERVER_CPU)
            result = self.load(server, op, "--once", *words)
            figures[server.name] = {"cpu": result["server_cpu_us"], "client": result["client_cpu_us"],
                                    "iops": result["iops"], "mb_s": result["mb_s"], "p50": result["p50_us"],
                                    "p99": result["p99_us"]}
        return figures

    def report(self, job, figures, targets):
        """targets: {figure: wanted ratio}; more is better for iops and mb_s, less for the others."""
        peers = {name: of for name, of in figures.items() if not name.startswith("foreshard")}
        for name, of in figures.items():
            ratios = []
            if name.startswith("foreshard"):
                wanted = targets.get(name, targets.get("foreshard", {}))
                for figure, ratio in wanted.items():
                    more = figure in ("iops", "mb_s")
                    best = (max if more else min)(peer[figure] for peer in peers.values())
                    got = of[figure] / best if best else float("nan")
                    met = got >= ratio if more else got <= ratio
                    ratios.append(f"{figure} {got:.2f}x (wanted {'>=' if more else '<='} {ratio}) "
                                  f"{'reached' if met else 'NOT reached'}")
            row = (f"| {job} | {name} | {of['cpu']:.2f} | {of['client']:.2f} | {of['iops']:.0f} | {of['mb_s']:.0f} | "
                   f"{of['p50']:.0f} / {of['p99']:.0f} | {'; '.join(ratios)} |")
            self.rows.append(row)
            print(row, flush=True)

    def report_ceph(self, job, figures, kind):
        ceph = CEPH[kind]
        together = ceph["cpu"] + ceph["client"]
        texts = []
        for name, of in figures.items():
            if name.startswith("foreshard"):
                less = together / max(of["cpu"] + of["client"], 1e-9)
                met = "reached" if less >= 10 else "NOT reached"
                texts.append(f"{name}: client and server CPU {less:.1f}x less (wanted >= 10) {met}")
        row = (f"| {job} | Ceph RBD, 1 OSD, recorded | {ceph['cpu']} | {ceph['client']} | {ceph['iops']} | "
               f"{ceph['iops'] * 4096 / 1e6:.0f} | | {'; '.join(texts)} |")
        self.rows.append(row)
        print(row, flush=True)


HEADER = ("| job | server | server CPU us/IO | client CPU us/IO | IOPS | MB/s | p50 / p99 us | foreshard to the better "
          "peer |\n|---|---|--:|--:|--:|--:|--:|---|")


def cached_jobs(bench, lab):
    servers = [Nbdkit(lab), Foreshard(lab, "foreshard-attach", False, "1200M", "1M"),
               Foreshard(lab, "foreshard-up-attach", True, "1200M", "1M")]
    for server in servers:
        server.pin(SERVER_CPU)
        bench.load(server, "seqwrite", "--bs", 128 * 1024, "--qd", 8, "--once")
        bench.load(server, "seqread", "--bs", 128 * 1024, "--qd", 8, "--once")
    figures = bench.measure(servers, "randread")
    bench.report("4 KiB random read, cached, QD32", figures, {"foreshard": {"cpu": 0.65, "iops": 1.3}})
    figures = bench.measure(servers, "randread", "--qd", 1)
    bench.report("4 KiB random read, cached, QD1", figures, {"foreshard": {"p50": 0.8, "cpu": 0.7}})
    for server in servers:
        server.stop()


def disk_jobs(bench, lab):
    servers = [QemuNbd(lab, "native"), QemuNbd(lab, "io_uring"),
               Foreshard(lab, "foreshard-attach", False, DISK_CACHE, DISK_CACHE),
               Foreshard(lab, "foreshard-up-attach", True, DISK_CACHE, DISK_CACHE)]
    writes = ("--flush-every", 32)
    figures = bench.once(servers, "randwrite", *writes)
    bench.report("4 KiB random write, QD32, flush every 32, first pass", figures, {})
    figures = bench.measure(servers, "randwrite", *writes)
    bench.report("the same, steady state", figures, {"foreshard": {"cpu": 0.8, "iops": 1.2}})
    bench.report_ceph("the same, steady state", figures, "write")
    figures = bench.measure(servers, "randread")
    bench.report("4 KiB random read, cold, QD32", figures, {
        "foreshard-attach": {"cpu": 0.75, "iops": 1.5}, "foreshard-up-attach": {"cpu": 0.6, "iops": 1.5}})
    bench.report_ceph("4 KiB random read, cold, QD32", figures, "read")
    large = ("--bs", 128 * 1024, "--qd", 8)
    for op, job in (("seqwrite", "128 KiB sequential write, QD8"), ("seqread", "128 KiB sequential read, QD8")):
        bench.report(job, bench.measure(servers, op, *large), {"foreshard": {"mb_s": 1.5}})
    for server in servers:
        server.stop()


def prediction_jobs(bench, lab):
    """What prediction costs where nothing can be predicted."""
    servers = [QemuNbd(lab, "io_uring")]
    for prefetch in ("off", "on"):
        servers += [Foreshard(lab, f"foreshard-attach-{prefetch}", False, DISK_CACHE, DISK_CACHE, prefetch),
                    Foreshard(lab, f"foreshard-up-attach-{prefetch}", True, DISK_CACHE, DISK_CACHE, prefetch)]
    bench.once(servers, "seqwrite", "--bs", 128 * 1024, "--qd", 8)
    for depth in (32, 1):
        figures = bench.measure(servers, "randread", "--qd", depth)
        bench.report(f"4 KiB random read, cold, QD{depth}", figures, {})
    for server in servers:
        server.stop()


def add_section(path, section):
    """At the end, but before the table to which scripts/long.sh adds its rows."""
    path = pathlib.Path(path)
    text = path.read_text(encoding="utf-8") if path.exists() else "# Results\n\n"
    before, mark, after = text.partition("## Long campaigns")
    path.write_text(before.rstrip("\n") + "\n\n" + section + ("\n" + mark + after if mark else ""), encoding="utf-8")


def commit():
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                          check=False)
    return done.stdout.strip() or "unknown"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--jobs", default="cached,disk", help="which: cached, disk, prediction")
    parser.add_argument("--append", metavar="FILE", help="add the table to this file")
    options = parser.parse_args()
    lab = Lab()
    lab.needs("nbdkit", "qemu-nbd", "nbdinfo", "taskset")
    bench = Bench(lab, options)
    title = (f"## Beside the peers, {datetime.datetime.now():%Y-%m-%d %H:%M}, commit {commit()}\n\n"
             f"{options.runs} alternating runs of {options.seconds:g} s, {os.cpu_count()} CPUs, load average before "
             f"{os.getloadavg()[0]:.1f}, kernel {os.uname().release}.\n\n")
    print(title + HEADER, flush=True)
    for job, run in (("cached", cached_jobs), ("disk", disk_jobs), ("prediction", prediction_jobs)):
        if job not in options.jobs.split(","):
            continue
        try:
            run(bench, lab)
        except RuntimeError as error:
            bench.rows.append(f"| {job} | | | | | | | broke off: {str(error).splitlines()[0]} |")
            lab.check(f"{job} jobs", False, error)
    if options.append:
        add_section(options.append, title + HEADER + "\n" + "\n".join(bench.rows) + "\n")
    sys.exit(1 if lab.failed else 0)


if __name__ == "__main__":
    main()
