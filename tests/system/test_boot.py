#!/usr/bin/python3
"""Proves that a VM can live on a foreshard volume: an image with a root file system is imported, a Debian cloud kernel
boots from it in QEMU over NBD, verifies the tree, writes and powers off; after a clean detach and a new attach it boots
once more; then the file system is clean and everything written is there."""

import guest
from lab import Attachment, Lab, MIB, Region, same

lab = Lab()
lab.needs("qemu-system-x86_64", "busybox", "cpio", "mke2fs", "e2fsck", "debugfs", "nbdcopy")
found = guest.kernel(lab)
if found is None:
    lab.skip("boot", "cannot download a Debian cloud kernel")
    lab.finish()
vmlinuz, modules = found
initramfs = guest.initramfs(lab, modules)
image = guest.disk_image(lab, 256 * MIB)

region = Region(lab)
done = region.cli("volume", "import", image, "root", "--volumelet-size", "4M")
lab.check("import of the image", done.returncode == 0, done.stderr)
for number in (1, 2):
    attachment = Attachment(region, "root")
    if number == 1:
        lab.succeeds("copy before the boot", "nbdcopy", attachment.uri, lab.dir / "before.img")
        lab.check("volume equals the image", same(image, lab.dir / "before.img"))
    console = guest.boot(lab, vmlinuz, initramfs, attachment.socket, "root")
    lab.check(f"boot {number}: the tree is intact", "GUEST: tree intact" in console, console)
    lab.check(f"boot {number}: wrote and powered off", f"GUEST: boot {number} done" in console, console)
    lab.check(f"boot {number}: clean detach", attachment.stop(), attachment.log())
lab.check("clean stop of the region", region.stop(), region.log())

region.start()
attachment = Attachment(region, "root")
lab.succeeds("copy after the boots", "nbdcopy", attachment.uri, lab.dir / "after.img")
clean, read = guest.inspect(lab, lab.dir / "after.img")
lab.check("fsck is clean", clean)
lab.check("the count of boots is there", read("/boots").strip() == b"2", read("/boots"))
lab.check("what the guest wrote is there", guest.written_intact(read, 2), read("/sums.sha256"))
attachment.stop()
region.stop()
lab.finish()
