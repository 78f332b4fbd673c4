"""A small file system of a test's own, ext4 on a loop device: it may fill up, turn read-only or answer with errors.

With failing=True the loop device stands on nbdfuse on nbdkit with its error filter: while .trigger exists, whatever
reads or writes the device gets EIO; after hang() it gets no answer. The file system then has no journal and goes on
after errors.

Mounts, loop devices and processes live in namespaces of their own (volatile_disk.enter_namespaces)."""

import atexit
import os
import pathlib
import signal
import tempfile

from lab import Lab


class SmallDisk:
    def __init__(self, lab: Lab, size="1200M", failing=False):
        self.lab = lab
        folder = pathlib.Path(tempfile.mkdtemp(prefix="disk.", dir=lab.dir))
        self.path, self.image, self.trigger = folder / "mounted", folder / "image", folder / "trigger"
        self.fuse = folder / "fuse"
        self.path.mkdir()
        self.fuse.mkdir()
        self._must("truncate", "-s", size, self.image)
        self._must("mkfs.ext4", "-q", "-F", "-m", "0", *(["-O", "^has_journal"] if failing else []), self.image)
        atexit.register(self._end)
        self.device = self.image
        if failing:
            socket = folder / "nbdkit.sock"
            self.server = lab.start("nbdkit", "-f", "-U", socket, "--filter=error", "file", self.image, "error=EIO",
                                    "error-rate=1", f"error-file={self.trigger}", log="nbdkit.log")
            lab.wait_for("nbdkit", socket.exists, self.server)
            fuse = lab.start("nbdfuse", self.fuse / "nbd", f"nbd+unix:///?socket={socket}", log="nbdfuse.log")
            self.device = self.fuse / "nbd"
            lab.wait_for("nbdfuse", self.device.exists, fuse)
        self.mount("loop,errors=continue" if failing else "loop,errors=remount-ro")

    def mount(self, options="loop,errors=remount-ro"):
        self._must("mount", "-o", options, self.device, self.path)

    def unmount(self):
        self._must("umount", self.path)

    def check(self):
        """Repairs what the kernel could not write any more, as a boot would."""
        return self.lab.run("fsck.ext4", "-p", "-f", self.image, seconds=60)

    def device_name(self):
        for line in pathlib.Path("/proc/mounts").read_text().splitlines():
            device, path, *_ = line.split()
            if path == str(self.path):
                return pathlib.Path(device).name
        raise RuntimeError(f"{self.path} is not mounted")

    def hang(self, hangs=True):
        """Nothing that it is asked for is answered any more, or again. Of a failing one only."""
        if hangs:  # not from the kernel's memory either
            with open(self.device, "rb+") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        os.kill(self.server.pid, signal.SIGSTOP if hangs else signal.SIGCONT)

    def turn_read_only(self):
        """As the kernel does when it finds the file system damaged."""
        pathlib.Path(f"/sys/fs/ext4/{self.device_name()}/trigger_fs_error").write_text("1")

    def free_bytes(self):
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def fill(self, leave=0):
        """Somebody else takes the space."""
        with open(self.path / "hog", "ab") as hog:
            wanted = self.free_bytes() - leave
            if wanted > 0:
                os.posix_fallocate(hog.fileno(), hog.tell(), wanted // 4096 * 4096)
            while leave == 0 and self.free_bytes() > 0:
                try:
                    hog.write(bytes(min(self.free_bytes(), 1 << 20)))
                    hog.flush()
                except OSError:
                    break

    def empty(self):
        (self.path / "hog").unlink()

    def _must(self, *command):
        done = self.lab.run(*command, seconds=60)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(done.args)}: {done.stdout}{done.stderr}")

    def _end(self):
        """However the test ends: nothing stays mounted, so that its folder can be removed."""
        self.trigger.unlink(missing_ok=True)
        if self.device != self.image and self.server.poll() is None:
            self.hang(False)
        self.lab.end_processes()
        for path in (self.path, self.fuse):
            if os.path.ismount(path):
                self.lab.run("umount", "-l", path, seconds=60)
