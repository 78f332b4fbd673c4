"""What the system tests share: a private folder, a region of its own, attached volumes, real clients, the count.

A test is a program. It makes one Lab, checks things, and ends with lab.finish(), which prints the closing line
"N passed, N failed, N skipped". Every process it starts is stopped by its own pid when the test ends, however it ends.
"""

import atexit
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
FORESHARD = os.environ.get("FORESHARD_BINARY", str(ROOT / "build" / "foreshard"))
MIB = 1 << 20
# Small volumelets, so that requests cross their bounds all the time: 512 MiB holds 128 of them.
VOLUMELET = 4 * MIB
START_SECONDS = 60
# Debian's own programs come first: nbdsh, for one, wants Debian's Python.
os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin:" + os.environ.get("PATH", "")


class Lab:
    """Owns the folder and the processes of one test."""

    def __init__(self):
        self.name = pathlib.Path(sys.argv[0]).stem
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="foreshard-test."))
        self.passed = self.failed = self.skipped = 0
        self.processes = []
        self.started = 0
        atexit.register(self._clean)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        sys.excepthook = self._crashed

    # ---- results

    def check(self, what, good, detail=""):
        if good:
            self.passed += 1
            print(f"ok   {what}", flush=True)
        else:
            self.failed += 1
            print(f"FAIL {what}: {str(detail)[-2000:]}" if detail else f"FAIL {what}", flush=True)
        return good

    def skip(self, what, reason):
        """A missing real client is a failure where CI=true."""
        if os.environ.get("CI") == "true":
            self.check(what, False, f"{reason} (required with CI=true)")
        else:
            self.skipped += 1
            print(f"skip {what}: {reason}", flush=True)

    def needs(self, *tools):
        """Unless all tools are there, the whole test counts as one skip and ends."""
        absent = [tool for tool in tools if shutil.which(tool) is None]
        if absent:
            self.skip(self.name, "not installed: " + ", ".join(absent))
            self.finish()

    def closing_line(self):
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped", flush=True)

    def finish(self):
        self.closing_line()
        sys.exit(1 if self.failed else 0)

    def _crashed(self, kind, error, trace):
        traceback.print_exception(kind, error, trace)
        self.check(self.name + " ran to its end", False, repr(error))
        self.closing_line()

    def leave_running(self):
        """The processes and the folder outlive this one."""
        atexit.unregister(self._clean)

    def end_processes(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()

    def _clean(self):
        self.end_processes()
        if self.failed and "FORESHARD_TEST_KEEP" in os.environ:
            print(f"kept {self.dir}", file=sys.stderr)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    # ---- processes

    def start(self, *command, log=None, **options):
        """Starts a process that the test owns; its output goes to a file of the private folder."""
        log = self.dir / (log or f"{pathlib.Path(command[0]).name}.{self.started}.log")
        self.started += 1
        with open(log, "ab") as out:
            process = subprocess.Popen([str(word) for word in command], stdout=out, stderr=subprocess.STDOUT,
                                       stdin=subprocess.DEVNULL, start_new_session=True, **options)
        process.log = log
        self.processes = [one for one in self.processes if one.poll() is None] + [process]
        return process

    def run(self, *command, seconds=300, **options):
        """Runs a client to its end: .returncode, .stdout and .stderr tell what happened; 124 when it was late."""
        command = [str(word) for word in command]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=seconds, errors="replace", **options)
        except subprocess.TimeoutExpired as late:
            return subprocess.CompletedProcess(command, 124, str(late.stdout), f"not done after {seconds} s")

    def succeeds(self, what, *command, **options):
        done = self.run(*command, **options)
        self.check(what, done.returncode == 0,
                   f"rc {done.returncode}: {' '.join(done.args)}\n{done.stdout}{done.stderr}")
        return done

    def wait_for(self, what, ready, process=None, seconds=START_SECONDS):
        deadline = time.monotonic() + seconds
        while not ready():
            if process is not None and process.poll() is not None:
                raise RuntimeError(f"{what}: process ended with {process.returncode}: {tail(process.log)}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what}: not within {seconds} s: {tail(process.log) if process else ''}")
            time.sleep(0.05)


def tail(path, size=3000):
    return pathlib.Path(path).read_bytes()[-size:].decode(errors="replace")


def same(one, other):
    """Do two files hold the same bytes?"""
    return subprocess.run(["cmp", "-s", str(one), str(other)], check=False).returncode == 0


class Region:
    """`foreshard up`: three zones with two servers each, unless told otherwise."""

    def __init__(self, lab, name="region", zones="a,b,c", servers_per_zone=2, options=()):
        self.lab = lab
        self.dir = lab.dir / name
        self.address = f"unix:{self.dir}/foreshard.sock"
        self.command = [FORESHARD, "up", "--dir", self.dir, "--zones", zones, "--servers-per-zone", servers_per_zone,
                        *options]
        self.process = None
        self.start()

    def start(self, wait=True):
        self.process = self.lab.start(*self.command, log=f"{self.dir.name}.log")
        if wait:
            self.lab.wait_for("region up", lambda: self.cli("server", "ls").returncode == 0, self.process)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """The clean way; true when it ended in good order."""
        return stop(self.process)

    def cli(self, *words, seconds=300):
        return self.lab.run(FORESHARD, *words, "--region", self.address, seconds=seconds)

    def json(self, *words):
        done = self.cli(*words, "-o", "json")
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(done.args)}: {done.stderr}")
        return json.loads(done.stdout)

    def create(self, name, size="512M", volumelet=VOLUMELET, options=()):
        done = self.cli("volume", "create", name, "--size", size, "--volumelet-size", volumelet, *options)
        if done.returncode != 0:
            raise RuntimeError(f"volume create {name}: {done.stderr}")

    def forget(self):
        """Gives its space back, once it is stopped."""
        shutil.rmtree(self.dir, ignore_errors=True)

    def log(self):
        return tail(self.process.log)


class Attachment:
    """`foreshard attach`: one volume behind a private NBD socket."""

    def __init__(self, region, volume, cache="64M", prefetch="on", socket=None, options=(), wait=True):
        self.lab = region.lab
        self.volume = volume
        self.socket = socket or self.lab.dir / f"{volume}.nbd"
        self.uri = f"nbd+unix:///{volume}?socket={self.socket}"
        self.command = [FORESHARD, "attach", volume, "--nbd", f"unix:{self.socket}", "--cache", cache, "--prefetch",
                        prefetch, "--region", region.address, *options]
        self.process = None
        self.start(wait)

    def start(self, wait=True):
        self.process = self.lab.start(*self.command, log=f"{self.volume}.attach.log")
        if wait:
            self.lab.wait_for(f"attach {self.volume}", self.ready, self.process)

    def ready(self):
        return self.lab.run("nbdinfo", "--size", self.uri, seconds=10).returncode == 0

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """The clean way: SIGTERM detaches; true when it ended in good order."""
        return stop(self.process)

    def log(self):
        return tail(self.process.log)


def stop(process, seconds=60):
    process.terminate()
    try:
        return process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        return False
