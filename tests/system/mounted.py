"""A volume as a file system of this host, where the kernel has no NBD client of its own: nbdfuse shows the export as a
file, a loop device makes it a disk, ext4 is mounted from that. Needs root. Whatever happens within, all of it is taken
down again, the last first."""

import contextlib
import os
import shutil
import subprocess
import time

TOOLS = ("nbdfuse", "losetup", "mount", "umount", "fusermount3", "mkfs.ext4")


def absent():
    """Why this host cannot do it; None when it can."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return "not installed: " + ", ".join(missing)
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.W_OK) or not os.path.exists("/dev/loop-control"):
        return "it takes root, /dev/fuse and loop devices"
    return None


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(done.args)}: {done.stderr}")
    return done.stdout.strip()


def persist(*command, seconds=20):
    """Something may still be busy with it for a moment."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return run(*command)
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


@contextlib.contextmanager
def image_mounted(image, folder, direct=False):
    """The file as a file system under the folder. `direct`: past the page cache of the file."""
    folder.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        loop = run("losetup", "--find", "--show", *(["--direct-io=on"] if direct else []), image)
        stack.callback(persist, "losetup", "--detach", loop)
        run("mount", "-t", "ext4", "-o", "noatime", loop, folder)
        stack.callback(persist, "umount", folder)
        yield folder


@contextlib.contextmanager
def volume_mounted(lab, uri, folder):
    """The export as a file system under the folder. The kernel's cache of it begins empty and ends with it."""
    file = folder.with_suffix(".nbd")
    file.touch()
    with contextlib.ExitStack() as stack:
        process = lab.start("nbdfuse", "--connections", "4", file, uri)
        stack.callback(process.wait, 20)
        stack.callback(persist, "fusermount3", "-u", file)
        lab.wait_for("nbdfuse", lambda: file.stat().st_size > 0, process)
        stack.enter_context(image_mounted(file, folder, direct=True))
        yield folder


def make_image(image, size, fill, folder):
    """An ext4 image; fill(folder) puts into it what it shall hold. Its tables are written now, not by the kernel in
    the background of whatever is measured."""
    with open(image, "wb") as out:
        out.truncate(size)
    run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
    with image_mounted(image, folder):
        fill(folder)
