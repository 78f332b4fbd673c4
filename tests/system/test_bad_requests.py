#!/usr/bin/python3
"""Proves that NBD requests which cannot be carried out, past the end of a volume, too long, empty, with flags of other
commands, are answered with the error that the protocol has for them; that the connection is of use afterwards, and
nothing has changed. Requests that no block device would get, unaligned and of odd length, are carried out to the
byte."""

import errno
import random

from lab import Attachment, Lab, MIB, Region

lab = Lab()
lab.needs("nbdinfo")
try:
    import nbd
except ImportError:
    lab.skip(lab.name, "not installed: python3-libnbd")
    lab.finish()
# The size is a whole number of sectors, not of pages.
SIZE = 8 * MIB + 512
LONGEST = 32 * MIB


def connected(attachment, structured):
    handle = nbd.NBD()
    handle.set_strict_mode(0)  # what libnbd itself would refuse is sent
    handle.set_request_structured_replies(structured)
    if structured:
        handle.add_meta_context("base:allocation")
    handle.connect_uri(attachment.uri)
    return handle


class Volume:
    """A volume with known content, and a client that checks it."""

    def __init__(self, attachment, structured):
        self.handle = connected(attachment, structured)
        self.kind = "structured replies" if structured else "simple replies"
        self.content = bytearray(random.Random(5).randbytes(SIZE))
        for offset in range(0, SIZE, 4 * MIB):
            self.handle.pwrite(bytes(self.content[offset:offset + 4 * MIB]), offset)
        self.handle.flush()

    def whole(self):
        return b"".join(self.handle.pread(min(4 * MIB, SIZE - at), at) for at in range(0, SIZE, 4 * MIB))

    def refused(self, what, wanted, request):
        try:
            request(self.handle)
            outcome = "done"
        except nbd.Error as error:
            outcome = error.errno
        name = errno.errorcode[wanted]
        lab.check(f"{self.kind}, {what}: {name}", outcome == name, f"{outcome} instead of {name}")
        lab.check(f"{self.kind}, {what}: the connection is of use", self.handle.aio_is_ready() and
                  self.handle.pread(512, SIZE - 512) == self.content[-512:])

    def unchanged(self, after):
        lab.check(f"{self.kind}: nothing has changed after {after}", self.whole() == self.content)


region = Region(lab, zones="a", servers_per_zone=2)
region.create("v", size=SIZE)
attachment = Attachment(region, "v")
for structured in (True, False):
    volume = Volume(attachment, structured)
    for what, offset, length in (("at the end", SIZE, 512), ("across the end", SIZE - 256, 512),
                                 ("far past the end", SIZE + (1 << 40), 512), ("at the last byte of all", 2**63, 512)):
        data = b"\xcc" * length
        volume.refused(f"a read {what}", errno.EINVAL, lambda h: h.pread(length, offset))
        volume.refused(f"a write {what}", errno.ENOSPC, lambda h: h.pwrite(data, offset))
        volume.refused(f"a write with FUA {what}", errno.ENOSPC, lambda h: h.pwrite(data, offset, nbd.CMD_FLAG_FUA))
        volume.refused(f"zeroes {what}", errno.ENOSPC, lambda h: h.zero(length, offset))
        volume.refused(f"a trim {what}", errno.EINVAL, lambda h: h.trim(length, offset))
        volume.refused(f"a cache {what}", errno.EINVAL, lambda h: h.cache(length, offset))
        if structured:
            volume.refused(f"a block status {what}", errno.EINVAL,
                           lambda h: h.block_status(length, offset, lambda *_: 0))
    volume.unchanged("requests past the end")
    volume.refused("zeroes of 4 GiB", errno.ENOSPC, lambda h: h.zero(2**32 - 1, 0))
    volume.refused("a trim of 4 GiB", errno.EINVAL, lambda h: h.trim(2**32 - 1, 0))
    volume.refused("an empty write", errno.EINVAL, lambda h: h.pwrite(b"", 0))
    volume.refused("a flush with a flag of its own", errno.EINVAL, lambda h: h.flush(nbd.CMD_FLAG_NO_HOLE))
    volume.refused("a read with the flag of another command", errno.EINVAL,
                   lambda h: h.pread(512, 0, nbd.CMD_FLAG_REQ_ONE))
    if not structured:
        volume.refused("a block status that was not agreed on", errno.EINVAL,
                       lambda h: h.block_status(512, 0, lambda *_: 0))
    volume.unchanged("requests of the wrong shape")

    # No bad requests: bytes are bytes.
    chance = random.Random(f"unaligned.{structured}")
    for _ in range(200):
        length = chance.choice((1, 511, 513, 4095, 4097, 70_001))
        offset = chance.randrange(SIZE - length)
        data = chance.randbytes(length)
        if chance.random() < 0.3:
            data = bytes(length)
            volume.handle.zero(length, offset)
        else:
            volume.handle.pwrite(data, offset)
        volume.content[offset:offset + length] = data
    volume.unchanged("200 unaligned writes and zeroes but what they say")
    volume.handle.shutdown()

# ---- longer than one request may be, on a volume in which it would have room
region.create("large", size=128 * MIB)
large = Attachment(region, "large")
for structured in (True, False):
    handle = connected(large, structured)
    for what, request in (("read", lambda: handle.pread(LONGEST + 1, 0)),
                          ("write", lambda: handle.pwrite(b"\1" * (LONGEST + 1), 0))):
        try:
            request()
            outcome = "done"
        except nbd.Error as error:
            outcome = error.errno
        lab.check(f"a {what} of more than 32 MiB is refused", outcome == "EINVAL", outcome)
        lab.check("and the connection is of use", handle.pread(4096, 0) == bytes(4096))
    handle.pwrite(b"\2" * LONGEST, LONGEST)
    lab.check("one of 32 MiB is not", handle.pread(LONGEST, LONGEST) == b"\2" * LONGEST)
    handle.pwrite(bytes(LONGEST), LONGEST)
    handle.shutdown()
for one in (attachment, large):
    lab.check("clean detach", one.stop(), one.log())
lab.check("clean stop", region.stop(), region.log())
lab.finish()
