#!/usr/bin/python3
"""Records what real programs read and write of a disk, as traces for `foreshard replay`: traces that nothing here was
tuned on.

  record_programs.py OUT [--seconds 60] [--only desktop,sqlite]

A file system on a loop device gets a copy of this host's programs; they run in it (chroot) with little memory, so that
much of what they need has to be read again and again. What reaches the device is written down from the kernel's
block_rq_issue events to OUT/NAME.csv:

  desktop      short commands, some far more often than others: git, grep, compilers, python, man, vim, find
  desktop64    the same with 64 MiB of memory: what is in use does not fit, all is read over and over
  compile      make of 60 C files after a third of them has changed, repeated
  postgres     pgbench: mixed, select only, updates, four clients, a count of all between
  sqlite       lookups by key, ranges, updates and scans of an index in a table of 500,000 rows
  mail         small files written, read (the newest most often), listed, deleted
  backup       tar and md5sum over whole trees, twice

Score them with: bench/replay_table.py OUT

Takes root, 6 GiB beside OUT, a kernel with tracing of block devices and a memory cgroup. It drops the machine's page
cache. A workload whose programs are not installed is skipped with a line."""

import argparse
import contextlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "system"))
from mounted import persist, run  # noqa: E402

TRACING = pathlib.Path("/sys/kernel/tracing")
COPIED = ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/include", "usr/share/man", "usr/share/doc",
          "usr/share/vim", "usr/share/perl", "usr/share/git-core", "usr/share/misc", "usr/share/postgresql",
          "usr/share/locale", "etc", "bin", "sbin", "lib", "lib64")
LARGE = ("usr/lib/jvm", "usr/lib/debug", "usr/lib/llvm-*", "usr/lib/google-cloud-sdk", "*.a", "*torch*", "libLLVM*",
         "libopenblas*", "scipy*", "dri")
DISK_BYTES = 6 << 30
MIB = 1 << 20
HEADERS = ("stdio.h stdlib.h string.h math.h sys/socket.h netinet/in.h pthread.h signal.h regex.h time.h sys/stat.h "
           "dirent.h poll.h sys/epoll.h sys/mman.h locale.h wchar.h termios.h sys/un.h fcntl.h").split()
PYTHON_MODULES = ("json", "email.message", "http.server", "unittest", "csv", "xml.dom.minidom", "asyncio", "curses",
                  "multiprocessing", "sqlite3")


class Disk:
    """The programs, and the folder (self.root) under which the device with them is mounted."""

    def __init__(self, top):
        self.image, self.root = top / "disk.img", top / "root"
        self.group = None
        self.device = ""

    def make(self):
        with open(self.image, "wb") as file:
            file.truncate(DISK_BYTES)
        run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image)

    def fill(self):
        for name in ("proc", "dev", "tmp", "root", "home", "work"):
            (self.root / name).mkdir(exist_ok=True)
        (self.root / "tmp").chmod(0o1777)
        there = [name for name in COPIED if os.path.lexists(f"/{name}")]
        with subprocess.Popen(["tar", "-C", "/", "-cf", "-", *(f"--exclude={name}" for name in LARGE), *there],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as out:
            subprocess.run(["tar", "-C", self.root, "-xf", "-"], stdin=out.stdout, check=True)
        run("git", "clone", "-q", ROOT, self.root / "work" / "repository")
        for number in range(60):
            used = random.Random(number).sample(HEADERS, 9)
            self.write(f"work/c{number}.c", "".join(f"#include <{name}>\n" for name in used) + f"int f{number};\n")
        self.write("work/Makefile", "OBJECTS := $(patsubst %.c,%.o,$(wildcard c*.c))\n"
                                    "all.a: $(OBJECTS)\n\tar rcs all.a $(OBJECTS)\n")
        for number, names in enumerate(("vector string map", "iostream regex", "memory functional thread")):
            self.write(f"work/{number}.cc", "".join(f"#include <{name}>\n" for name in names.split()))

    def write(self, name, text):
        (self.root / name).write_text(text, encoding="ascii")

    def limit(self, mib):
        """How much memory the programs have, their page cache included."""
        old = pathlib.Path("/sys/fs/cgroup/memory")
        self.group = (old if old.exists() else old.parent) / "record_programs"
        self.group.mkdir(exist_ok=True)
        (self.group / ("memory.limit_in_bytes" if old.exists() else "memory.max")).write_text(str(mib * MIB))

    def shell(self, command, seconds=300, user="0:0"):
        """Runs it in the disk; ends it, and all that it has started, when the time is over."""
        words = ["chroot", f"--userspec={user}", str(self.root), "/bin/sh", "-c", command]
        enter = 'echo $$ > "$0" && exec "$@"'
        with subprocess.Popen(["/bin/sh", "-c", enter, str(self.group / "cgroup.procs"), *words],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              start_new_session=True, env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root",
                                                           "LANG": "C"}) as process:
            try:
                return process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return -signal.SIGKILL

    def python(self, text, seconds):
        self.write("work/job.py", text)
        return self.shell("/usr/bin/python3 /work/job.py", seconds)


@contextlib.contextmanager
def mounted(disk):
    disk.root.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        disk.device = run("losetup", "--find", "--show", "--direct-io=on", disk.image)
        stack.callback(persist, "losetup", "--detach", disk.device)
        run("mount", "-t", "ext4", "-o", "noatime", disk.device, disk.root)
        stack.callback(persist, "umount", disk.root)
        disk.fill()
        run("mount", "-t", "proc", "proc", disk.root / "proc")
        stack.callback(persist, "umount", disk.root / "proc")
        run("mount", "--bind", "/dev", disk.root / "dev")
        stack.callback(persist, "umount", disk.root / "dev")
        yield


@contextlib.contextmanager
def recorded(disk, path):
    """What reaches the disk's device meanwhile, as a trace."""
    number = os.stat(disk.device).st_rdev
    name, code = f"{os.major(number)},{os.minor(number)}", os.major(number) << 20 | os.minor(number)
    os.sync()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
    (TRACING / "trace_clock").write_text("mono")
    (TRACING / "buffer_size_kb").write_text("65536")
    (TRACING / "trace").write_text("")
    event = TRACING / "events/block/block_rq_issue"
    (event / "filter").write_text(f"dev == {code}")
    over = threading.Event()

    def copy(pipe, out):
        left, rows = b"", 0
        while True:
            read = pipe.read(MIB)
            if not read:
                if over.is_set():
                    break
                time.sleep(0.02)
                continue
            *lines, left = (left + read).split(b"\n")
            for line in lines:
                rows += write_row(line.decode(), name, out)
        print(f"{path.name}: {rows} requests", flush=True)

    with open(TRACING / "trace_pipe", "rb", buffering=0) as pipe, open(path, "w", encoding="ascii") as out:
        os.set_blocking(pipe.fileno(), False)
        out.write("ts_us,vol,offset,size,op\n")
        copier = threading.Thread(target=copy, args=(pipe, out))
        copier.start()
        (event / "enable").write_text("1")
        try:
            yield
        finally:
            os.sync()
            (event / "enable").write_text("0")
            over.set()
            copier.join()


def write_row(line, device, out):
    """Such as: tar-12 [001] ..... 5.170123: block_rq_issue: 7,0 RA 4096 () 123 + 8 none,0,0 [tar]"""
    head, found, tail = line.partition(" block_rq_issue: ")
    words = tail.split()
    if not found or words[0] != device or "+" not in words:
        return False
    plus = words.index("+")
    sector, sectors = int(words[plus - 1]), int(words[plus + 1])
    op = words[1].lstrip("F")[:1]  # behind a flush
    if sectors == 0 or op not in ("R", "W"):
        return False
    out.write(f"{int(float(head.split()[-1].rstrip(':')) * 1e6)},0,{sector * 512},{sectors * 512},{op}\n")
    return True


def often(pick, choices):
    """The first far more often than the last."""
    return choices[min(int(pick.paretovariate(0.7)) - 1, len(choices) - 1)]


# Each workload: prepare(disk), which is not recorded, and work(disk, seconds).

def desktop(disk, seconds):
    pick, end, repository = random.Random(7), time.monotonic() + seconds, disk.root / "work/repository"
    sources = sorted(str(path.relative_to(disk.root)) for path in (repository / "src").rglob("*.cc"))
    pages = sorted(path.name.split(".")[0] for path in (disk.root / "usr/share/man/man1").glob("*.gz"))
    papers = sorted(str(path.relative_to(disk.root)) for path in (disk.root / "usr/share/doc").glob("*/copyright"))
    parts = ("src", "bench", "docs", "tests", "src/policy", "src/store")
    jobs = (
        lambda: f"cd /work/repository; git log --stat -n {pick.choice((5, 20, 60))} -- {often(pick, parts)}",
        lambda: f"cd /work/repository; git status; git diff --stat HEAD~{pick.randrange(1, 12)}",
        lambda: f"cd /work/repository; grep -rn {often(pick, ('mutex', 'Result', 'page', 'unlikely'))} src",
        lambda: f"/usr/bin/python3 -c 'import {often(pick, PYTHON_MODULES)}'",
        lambda: f"g++ -std=c++20 -fsyntax-only /work/{often(pick, (0, 1, 2))}.cc",
        lambda: f"gcc -O1 -c -o /tmp/a.o /work/c{often(pick, range(30))}.c",
        lambda: f"man {often(pick, pages)} | head -300",
        lambda: "perl -MPOSIX -MData::Dumper -MFile::Find -e 'print Dumper([1..9])'",
        lambda: f"cat /{pick.choice(papers)} /{pick.choice(papers)} | sort | uniq -c",
        lambda: f"find /usr/share/{often(pick, ('vim', 'man', 'doc'))} -name '*{pick.choice('abcdefgh')}*.gz'",
        lambda: f"vim -es -c 'e /{often(pick, sources)}' -c 'syntax on' -c 'wq! /tmp/x{pick.randrange(40)}'",
        lambda: "git --version; openssl version; ssh -V; tar --version; sqlite3 --version; make --version",
        lambda: f"sed s/a/b/ /{often(pick, sources)} > /tmp/s{pick.randrange(40)}",
    )
    while time.monotonic() < end:
        disk.shell((often(pick, jobs) if pick.random() < 0.6 else pick.choice(jobs))(), 60)


def compile_all(disk, seconds):
    pick, end, change = random.Random(3), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for number in pick.sample(range(60), 20):
            change += 1
            with open(disk.root / f"work/c{number}.c", "a", encoding="ascii") as file:
                file.write(f"int v{change};\n")
        disk.shell("make -C /work", 200)


def postgres_tools(disk):
    found = sorted((disk.root / "usr/lib/postgresql").glob("*/bin/pgbench"))
    return "/" + str(found[-1].parent.relative_to(disk.root)) if found else None


def postgres_prepare(disk):
    tools, user = postgres_tools(disk), "1000:1000"
    disk.shell("mkdir -p /home/pg; chown 1000:1000 /home/pg")
    disk.shell(f"{tools}/initdb -D /home/pg/d -U u --no-sync", user=user)
    with open(disk.root / "home/pg/d/postgresql.conf", "a", encoding="ascii") as file:
        file.write("shared_buffers = 8MB\nlisten_addresses = ''\nunix_socket_directories = '/home/pg'\n"
                   "checkpoint_timeout = 30s\ndynamic_shared_memory_type = mmap\n")
    disk.shell(f"{tools}/pg_ctl -D /home/pg/d -l /home/pg/log -w start", user=user)
    disk.shell(f"{tools}/pgbench -h /home/pg -U u -i -s 12 -q postgres", user=user)


def postgres(disk, seconds):
    tools, user = postgres_tools(disk), "1000:1000"
    count = "select count(*), sum(abalance) from pgbench_accounts"
    try:
        for options in ("-c 2", "-c 2 -S", "-c 2 -b simple-update", "-c 4"):
            disk.shell(f"{tools}/pgbench -h /home/pg -U u {options} -T {max(seconds // 4, 1)} postgres", user=user)
            disk.shell(f"{tools}/psql -h /home/pg -U u -c '{count}' postgres", user=user)
    finally:
        disk.shell(f"{tools}/pg_ctl -D /home/pg/d -m fast stop", user=user)


def sqlite_prepare(disk):
    disk.python("""
import random, sqlite3
pick, table = random.Random(1), sqlite3.connect("/work/table")
table.execute("create table t (id integer primary key, k text, v text, n int)")
table.executemany("insert into t values (?, ?, ?, ?)", ((i, "%012x" % pick.getrandbits(48),
                  "x" * pick.randrange(40, 400), pick.randrange(1000)) for i in range(500000)))
table.execute("create index k on t(k)")
table.execute("create index n on t(n)")
table.commit()
""", 300)


def sqlite(disk, seconds):
    disk.python(f"""
import random, sqlite3, time
pick, table, end = random.Random(2), sqlite3.connect("/work/table"), time.monotonic() + {seconds}
table.execute("pragma cache_size = 200")
keys = [key for key, in table.execute("select k from t where id % 50 = 0")]
def often(count): return min(int(pick.paretovariate(0.6)) - 1, count - 1)
while time.monotonic() < end:
    kind = pick.random()
    if kind < 0.5: table.execute("select v from t where k = ?", (keys[often(len(keys))],)).fetchall()
    elif kind < 0.7: table.execute("select v from t where id = ?", (pick.randrange(500000),)).fetchall()
    elif kind < 0.9:
        first = pick.randrange(490000)
        table.execute("select sum(n) from t where id between ? and ?", (first, first + pick.randrange(2000))).fetchall()
    elif kind < 0.98:
        table.execute("update t set n = ? where id = ?", (pick.randrange(1000), often(10000) * 50))
        table.commit()
    else: table.execute("select count(v) from t where n = ?", (pick.randrange(1000),)).fetchall()
""", seconds + 60)


def mail(disk, seconds):
    disk.python(f"""
import os, random, time
pick, end, live, number = random.Random(5), time.monotonic() + {seconds}, [], 0
while time.monotonic() < end:
    kind = pick.random()
    if kind < 0.35 or len(live) < 3000:
        folder = "/home/mail/%d" % (number % 40)
        os.makedirs(folder, exist_ok=True)
        live.append(folder + "/%d" % number)
        open(live[-1], "wb").write(os.urandom(pick.randrange(500, 30000)))
        number += 1
        if number % 50 == 0: os.sync()
    elif kind < 0.9: open(live[-1 - min(int(pick.paretovariate(0.4)), len(live) - 1)], "rb").read()
    elif kind < 0.95: os.listdir("/home/mail/%d" % pick.randrange(40))
    else:
        at = pick.randrange(len(live))
        os.unlink(live[at])
        live[at] = live[-1]
        live.pop()
""", seconds + 60)


def backup(disk, seconds):
    for _ in range(2):
        disk.shell("tar -C /work -cf - repository | sha256sum", seconds)
        disk.shell("tar -C /usr/include -cf - . | sha256sum", seconds)
        disk.shell("find /usr/share/man -type f | xargs md5sum", seconds)


# Name: memory in MiB, programs that it takes, prepare, work.
WORKLOADS = {
    "desktop": (160, ("git", "g++", "man", "vim", "perl"), None, desktop),
    "desktop64": (64, ("git", "g++", "man", "vim", "perl"), None, desktop),
    "compile": (110, ("gcc", "make"), None, compile_all),
    "postgres": (120, (), postgres_prepare, postgres),
    "sqlite": (40, (), sqlite_prepare, sqlite),
    "mail": (48, (), None, mail),
    "backup": (48, (), None, backup),
}


def why_not(disk, name):
    missing = [program for program in WORKLOADS[name][1] if shutil.which(program, path="/usr/bin:/bin") is None]
    if name == "postgres" and postgres_tools(disk) is None:
        missing.append("pgbench")
    return "not installed: " + ", ".join(missing) if missing else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--seconds", type=int, default=60, help="that each takes")
    parser.add_argument("--only", default=",".join(WORKLOADS))
    args = parser.parse_args()
    names = args.only.split(",")
    if unknown := [name for name in names if name not in WORKLOADS]:
        parser.error(f"no workload {', '.join(unknown)}; there are: {', '.join(WORKLOADS)}")
    if os.geteuid() != 0 or not (TRACING / "events/block").exists():
        parser.error("it takes root, and block events in /sys/kernel/tracing: "
                     "mount -t tracefs nodev /sys/kernel/tracing")
    args.out.mkdir(parents=True, exist_ok=True)
    disk = Disk(args.out)
    disk.make()
    try:
        with mounted(disk):
            for name in names:
                if why := why_not(disk, name):
                    print(f"{name}: skipped, {why}")
                    continue
                memory, _, prepare, work = WORKLOADS[name]
                if prepare:
                    disk.limit(512)
                    prepare(disk)
                disk.limit(memory)
                with recorded(disk, args.out / f"{name}.csv"):
                    work(disk, args.seconds)
    finally:
        disk.image.unlink()
        disk.root.rmdir()
        if disk.group is not None:
            persist("rmdir", disk.group)


if __name__ == "__main__":
    main()
