#!/usr/bin/python3
"""Proves that the time to attach does not depend on a volume's size: the median of ten attaches of a thin volume of
16 TiB takes at most 1.5 times that of one of 1 GiB. Attaches alternate, so that both see the same machine."""

import statistics
import time

from lab import Attachment, Lab, Region

ROUNDS = 10

lab = Lab()
lab.needs("nbdinfo")
region = Region(lab)
region.create("small", size="1G", volumelet="1G")
region.create("large", size="16T", volumelet="1G")
seconds = {"small": [], "large": []}
for _ in range(ROUNDS):
    for name, taken in seconds.items():
        begin = time.monotonic()
        attachment = Attachment(region, name)
        taken.append(time.monotonic() - begin)
        if not attachment.stop():
            lab.check(f"detach of {name}", False, attachment.log())
small, large = (statistics.median(seconds[name]) for name in ("small", "large"))
print(f"median of {ROUNDS}: 1 GiB {small * 1000:.0f} ms, 16 TiB {large * 1000:.0f} ms")
lab.check("attach of 16 TiB takes at most 1.5 times that of 1 GiB", large <= 1.5 * small, seconds)
region.stop()
lab.finish()
