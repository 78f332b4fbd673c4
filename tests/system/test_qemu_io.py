#!/usr/bin/python3
"""Proves with qemu-io that patterns come back as written, across the bounds of volumelets (4 MiB) and of pages, with
zeroes, discards and FUA in between, and after a clean restart of everything."""

from lab import Attachment, Lab, MIB, Region

BOUNDARY = 4 * MIB

lab = Lab()
lab.needs("qemu-io")
region = Region(lab)
region.create("patterns")
attachment = Attachment(region, "patterns")


def qemu_io(what, *commands):
    words = [word for command in commands for word in ("-c", command)]
    done = lab.run("qemu-io", "-f", "raw", *words, attachment.uri)
    text = done.stdout + done.stderr
    bad = [word for word in ("failed", "error", "verification") if word in text.lower()]
    lab.check(what, done.returncode == 0 and not bad, text)


for volumelet in (1, 2, 7, 64, 127):
    at = volumelet * BOUNDARY
    for size in (512, 1024, 4096, 8192, 65536, MIB, 6 * MIB):
        start = min(at - size // 2, 512 * MIB - size)
        pattern = (volumelet + size // 512) % 255 + 1
        qemu_io(f"straddle volumelet {volumelet}, {size} bytes", f"write -P {pattern} {start} {size}",
                f"read -P {pattern} {start} {size}", f"read -P {pattern} {at - 256} 256", f"read -P {pattern} {at} 256")
for offset, size in ((1, 1), (511, 2), (4095, 2), (1000, 3000), (BOUNDARY * 3 - 1, 2), (BOUNDARY * 3 - 4097, 9000)):
    qemu_io(f"unaligned {offset}+{size}", f"write -P 17 {offset // MIB * MIB} 2M", f"write -P 99 {offset} {size}",
            f"read -P 99 {offset} {size}", f"read -P 17 {offset + size} 100k")
qemu_io("zeroes", "write -P 3 20M 8M", f"write -z {24 * MIB - 3000} 6000", f"read -P 0 {24 * MIB - 3000} 6000",
        "read -P 3 20M 3M", "write -z -u 20M 1M", "read -P 0 20M 1M", "read -P 3 25M 3M")
qemu_io("discard reads as zero", "write -P 5 32M 12M", "discard 33M 10M", "read -P 0 33M 10M", "read -P 5 32M 1M",
        "read -P 5 43M 1M")
qemu_io("write after discard", "write -P 6 36M 4k", "read -P 6 36M 4k", f"read -P 0 {36 * MIB + 4096} 4k")
qemu_io("FUA", "write -f -P 7 50M 64k", "read -P 7 50M 64k", "flush")
qemu_io("vectors", "writev -P 8 60M 512 4096 512 8192", "readv -P 8 60M 13312")
qemu_io("asynchronous", "aio_write -P 9 70M 1M", "aio_write -P 10 71M 1M", "aio_write -P 11 72M 1M", "aio_flush",
        "read -P 9 70M 1M", "read -P 10 71M 1M", "read -P 11 72M 1M")
qemu_io("never written reads as zero", "read -P 0 300M 16M")

lab.check("clean detach", attachment.stop(), attachment.log())
lab.check("clean stop", region.stop(), region.log())
region.start()
attachment = Attachment(region, "patterns", prefetch="off", cache="4M")
qemu_io("after a restart", "read -P 7 50M 64k", "read -P 8 60M 13312", "read -P 10 71M 1M", "read -P 6 36M 4k",
        "read -P 0 33M 3M", "read -P 5 43M 1M")
attachment.stop()
region.stop()
lab.finish()
