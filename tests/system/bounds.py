"""How much memory `attach` and `up` take at most: their caches and 200 MiB. Peaks (VmHWM) count, not what is left at
the end. Used by test_bounds.py and by the long campaign."""

import json
import socket as network
import struct

from lab import Attachment, MIB, Region

CACHE = 64 * MIB
SERVER_CACHE = 10 * MIB
SERVERS = 6
SIZE = 10 * CACHE
SLACK = 200 * MIB
IDLE_CONNECTIONS = 64  # all that an export takes
IDLE_BESIDE_LOAD = 56
# Clients of a job, and what they do.
JOBS = {
    "mixed": (4, ["--rw=randrw", "--rwmixread=60", "--bssplit=512/5:4k/85:16k/8:128k/2", "--blockalign=512",
                  "--iodepth=32"]),
    "trim": (1, ["--rw=randtrimwrite", "--bs=4k", "--iodepth=16"]),
    "sequential": (2, ["--rw=rw", "--bs=128k", "--iodepth=8"]),
}
SHARES = (("mixed", 0.9), ("trim", 0.05), ("sequential", 0.05))  # of all requests


class Bounded:
    """A region and an attached volume ten times as large as either's caches."""

    def __init__(self, lab):
        self.lab = lab
        self.region = Region(lab, options=["--server-cache", SERVER_CACHE])
        self.region.create("v", size=SIZE)
        self.attachment = Attachment(self.region, "v", cache=CACHE)
        caches = [server["caches_bytes_max"] for server in self.region.json("server", "ls")]
        lab.check("servers say what their caches take", len(caches) == SERVERS and min(caches) >= SERVER_CACHE, caches)
        # The metadata's index has caches as one server's has.
        self.up_max = sum(caches) + (caches[0] - SERVER_CACHE) + SLACK
        self.idle = []

    def peaks(self):
        return peak_bytes(self.attachment.process), peak_bytes(self.region.process)

    def judge(self, when):
        attach, up = self.peaks()
        self.lab.check(f"{when}: attach took {attach / MIB:.0f} MiB of {(CACHE + SLACK) / MIB:.0f}",
                       attach <= CACHE + SLACK)
        self.lab.check(f"{when}: up took {up / MIB:.0f} MiB of {self.up_max / MIB:.0f}", up <= self.up_max)

    def load(self, name, requests, seed):
        """One of JOBS until so many requests are done."""
        jobs, options = JOBS[name]
        done = self.lab.run("fio", f"--name={name}", "--ioengine=nbd", f"--uri={self.attachment.uri}", *options,
                            f"--numjobs={jobs}", f"--number_ios={requests // jobs}", f"--size={SIZE}",
                            "--io_size=100t", "--norandommap", f"--randseed={seed}", "--group_reporting",
                            "--output-format=json", seconds=7200, cwd=self.lab.dir)
        if not self.lab.check(f"load {name}", done.returncode == 0, done.stdout[-500:] + done.stderr):
            return 0
        job = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]
        return sum(job[way]["total_ios"] for way in ("read", "write", "trim"))

    def go_idle(self):
        """All the connections that an export takes, each past its handshake; most of them stay beside the loads."""
        self.idle = [enter(self.attachment) for n in range(IDLE_CONNECTIONS)]
        self.lab.check(f"{IDLE_CONNECTIONS} idle connections", None not in self.idle)
        self.judge("idle")
        self.close_idle(IDLE_BESIDE_LOAD)

    def close_idle(self, left=0):
        for link in self.idle[left:]:
            if link is not None:
                link.close()
        del self.idle[left:]

    def large_requests(self):
        """The most that clients can have in flight: 64 connections with requests of the largest size."""
        self.close_idle()
        for words in (["/dev/zero", self.attachment.uri], [self.attachment.uri, "null:"]):
            if words[0] == "/dev/zero":
                image = self.lab.dir / "large"
                with open("/dev/urandom", "rb") as source, open(image, "wb") as out:
                    out.write(source.read(SIZE))
                words[0] = image
            self.lab.succeeds("large requests", "nbdcopy", "--connections=64", "--requests=64",
                              f"--request-size={32 * MIB}", *words)
        self.judge("with the largest requests")

    def end(self):
        self.lab.check("clean detach", self.attachment.stop(), self.attachment.log())
        self.lab.check("clean stop of the region", self.region.stop(), self.region.log())


def peak_bytes(process):
    for line in open(f"/proc/{process.pid}/status", encoding="ascii"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmHWM")


def enter(attachment):
    link = network.socket(network.AF_UNIX)
    link.settimeout(20)
    link.connect(str(attachment.socket))
    link.recv(18, network.MSG_WAITALL)
    name = attachment.volume.encode()
    link.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", 1, len(name)) + name)
    return link if len(link.recv(10, network.MSG_WAITALL)) == 10 else None
