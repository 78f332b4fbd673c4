"""A disk whose power can be cut: ext4 on a loop device on nbdfuse on nbdkit with the acceptance suite's voldisk plugin,
which keeps unsynced sectors in its memory alone. kill -9 of nbdkit is a power cut.

Mounts, loop devices and processes live in namespaces of their own, which the kernel takes down with whoever runs the
test, however that ends: enter_namespaces() runs the program again as their first process."""

import atexit
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import accept
from lab import Lab

TOOLS = ["unshare", "nbdkit", "nbdfuse", "mount", "mkfs.ext4"]


def absent():
    """What is missing to have such a disk; empty when nothing is."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    missing += [path for path in ("/dev/fuse", "/dev/loop-control") if not os.path.exists(path)]
    if os.geteuid() != 0:
        missing.append("root")
    if not missing and subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=False).returncode != 0:
        missing.append("namespaces")
    return missing


def enter_namespaces():
    """Goes on in a new process, which is the first of its process namespace: when it or its parent dies, so does
    everything inside, and with the last process go mounts and loop devices. Call it before anything else."""
    if os.getpid() == 1 or absent():
        return
    os.execvpe("unshare", ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
                           "--mount-proc", sys.executable, *sys.argv], os.environ)


class VolatileDisk:
    """Mounted at .path while powered. Owns the processes and mounts below it."""

    def __init__(self, lab: Lab, size="3G", bug="honest"):
        self.lab = lab
        self.bug = bug
        folder = pathlib.Path(tempfile.mkdtemp(prefix="disk.", dir=lab.dir))
        self.path, self.image = folder / "mounted", folder / "image"
        self.fuse, self.socket = folder / "fuse", folder / "nbdkit.sock"
        self.plugin = accept.WORK / "bin" / "voldisk.so"
        self.nbdkit = self.nbdfuse = None
        self.path.mkdir()
        self.fuse.mkdir()
        with open(self.image, "wb"):
            pass
        self._must("truncate", "-s", size, self.image)
        self._must("mkfs.ext4", "-q", "-F", "-m", "0", self.image)
        atexit.register(self._end)

    def _must(self, *command):
        done = self.lab.run(*command, seconds=60)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(done.args)}: {done.stdout}{done.stderr}")

    def _end(self):
        """However the test ends: nothing stays mounted, so that its folder can be removed."""
        self.lab.end_processes()
        for path in (self.path, self.fuse):
            if os.path.ismount(path):
                self.lab.run("umount", "-l", path, seconds=60)

    def power_on(self, seed, eager_percent):
        """`eager_percent` of the sectors written reach the medium at once, the others when they are synced."""
        self.socket.unlink(missing_ok=True)
        self.nbdkit = self.lab.start("nbdkit", "-f", "-U", self.socket, self.plugin, f"file={self.image}",
                                     f"eager={eager_percent}", f"seed={seed}", f"bug={self.bug}", log="nbdkit.log")
        self.lab.wait_for("nbdkit", self.socket.exists, self.nbdkit)
        self.nbdfuse = self.lab.start("nbdfuse", self.fuse / "nbd", f"nbd+unix:///?socket={self.socket}",
                                      log="nbdfuse.log")
        self.lab.wait_for("nbdfuse", (self.fuse / "nbd").exists, self.nbdfuse)
        # The kernel frees the loop device with the mount.
        self._must("mount", "-o", "loop", self.fuse / "nbd", self.path)

    def power_cut(self):
        self.nbdkit.kill()
        self.nbdkit.wait()

    def clear_away(self):
        """Once nobody uses it any more. What the kernel still holds back unwritten is lost with the power."""
        for path in (self.path, self.fuse):
            if self.lab.run("umount", path, seconds=60).returncode != 0:
                self._must("umount", "-l", path)
            if path == self.path:
                self.nbdfuse.kill()
                self.nbdfuse.wait()
        self.nbdkit.kill()
        self.nbdkit.wait()
