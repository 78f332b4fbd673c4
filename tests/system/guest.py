"""A small Linux guest for tests: Debian's cloud kernel, an initramfs of busybox and the virtio modules, and a disk
whose root file system checks what it finds, writes, and powers off. QEMU emulates it in software: no KVM is needed."""

import hashlib
import os
import pathlib
import shutil
import subprocess

from lab import ROOT

CACHE = ROOT / "build" / "cache"
# In the order in which they load: virtio_ring before virtio.
MODULES = ["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"]

INITRAMFS_INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /new
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod /modules/$module.ko || echo "GUEST: no module $module"; done
/bin/busybox mount -t ext4 /dev/vda /new || {{ echo "GUEST: cannot mount"; /bin/busybox poweroff -f; }}
exec /bin/busybox switch_root /new /sbin/init
"""

# What the disk runs: verify all that was put there, write, make it durable, leave the file system clean.
DISK_INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
cd /
/bin/busybox sha256sum -c /tree.sha256 >/dev/null && echo "GUEST: tree intact" || echo "GUEST: tree differs"
boots=$(($(/bin/busybox cat /boots 2>/dev/null || echo 0) + 1))
echo $boots >/boots
/bin/busybox dd if=/dev/urandom of=/written.$boots bs=64k count=64 2>/dev/null
/bin/busybox sha256sum /written.* >/sums.sha256
/bin/busybox rm -rf /copy
/bin/busybox cp -r /tree /copy
/bin/busybox sync
echo "GUEST: boot $boots done"
/bin/busybox mount -o remount,ro /
/bin/busybox poweroff -f
"""


def kernel(lab):
    """Path of a kernel and the folder of its modules, downloaded once into build/cache; None when out of reach."""
    CACHE.mkdir(parents=True, exist_ok=True)
    if not list(CACHE.glob("kernel/boot/vmlinuz-*")):
        wanted = lab.run("apt-cache", "depends", "linux-image-cloud-amd64").stdout.split("Depends:")
        if len(wanted) < 2:
            return None
        if lab.run("apt-get", "download", wanted[1].split()[0], cwd=CACHE).returncode != 0:
            return None
        package = next(CACHE.glob("linux-image-*.deb"))
        lab.run("dpkg", "-x", package, CACHE / "kernel")
        package.unlink()
    return next(CACHE.glob("kernel/boot/vmlinuz-*")), next(CACHE.glob("kernel/lib/modules/*"))


def initramfs(lab, modules):
    top = lab.dir / "initramfs"
    for folder in ("bin", "modules"):
        (top / folder).mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), top / "bin" / "busybox")
    for module in MODULES:
        shutil.copy(next(modules.rglob(f"{module}.ko")), top / "modules")
    write_program(top / "init", INITRAMFS_INIT.format(modules=" ".join(MODULES)))
    out = lab.dir / "initramfs.gz"
    subprocess.run(f"find . | cpio -o -H newc --quiet | gzip -1 >{out}", shell=True, check=True, cwd=top)
    return out


def disk_image(lab, size):
    """An ext4 image of `size` bytes: a tree of files of many sizes, their checksums, and the guest's init."""
    top = lab.dir / "disk"
    for folder in ("bin", "sbin", "proc", "dev", "tree"):
        (top / folder).mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), top / "bin" / "busybox")
    write_program(top / "sbin" / "init", DISK_INIT)
    with open(top / "tree.sha256", "w", encoding="ascii") as sums:
        for n in range(120):
            file = top / "tree" / f"d{n % 7}" / f"file{n}"
            file.parent.mkdir(exist_ok=True)
            content = os.urandom((n * 7919) % 300_000)
            file.write_bytes(content)
            sums.write(f"{hashlib.sha256(content).hexdigest()}  tree/d{n % 7}/file{n}\n")
    image = lab.dir / "disk.img"
    with open(image, "wb") as out:
        out.truncate(size)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(top), str(image)], check=True)
    return image


def boot(lab, kernel_path, initramfs_path, socket, export, seconds=240):
    """Runs the guest to its power off; what it printed on the console."""
    drive = (f"if=virtio,format=raw,file.driver=nbd,file.server.type=unix,file.server.path={socket},"
             f"file.export={export},file.reconnect-delay=3600,discard=unmap,detect-zeroes=unmap")
    done = lab.run("qemu-system-x86_64", "-machine", "pc", "-accel", "tcg", "-m", "256", "-nodefaults",
                   "-display", "none", "-serial", "stdio", "-no-reboot",
                   "-kernel", kernel_path, "-initrd", initramfs_path, "-append", "console=ttyS0 panic=-1 quiet",
                   "-drive", drive, seconds=seconds, stdin=subprocess.DEVNULL)
    return done.stdout + done.stderr


def inspect(lab, image):
    """Looks at a copy of the disk from outside: (fsck is clean, what debugfs reads of a path as bytes)."""
    clean = lab.run("e2fsck", "-fn", image).returncode == 0

    def read(path):
        return subprocess.run(["debugfs", "-R", f"cat {path}", str(image)], capture_output=True, check=False).stdout

    return clean, read


def written_intact(read, boots):
    """Do the files that the guest wrote have the checksums that it noted?"""
    noted = dict(reversed(line.split()) for line in read("/sums.sha256").decode().splitlines())
    intact = [hashlib.sha256(read(name)).hexdigest() == digest for name, digest in noted.items()]
    return len(intact) == boots and all(intact)


def write_program(path, text):
    pathlib.Path(path).write_text(text, encoding="ascii")
    path.chmod(0o755)
