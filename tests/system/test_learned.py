#!/usr/bin/python3
"""Proves that what prefetching learned of a VM's first boot serves the next driver of its volume, the first boot of
another VM of the same image, and a driver after the region was killed and started again; and that a volume of another
image gets nothing of it. The "boot" is a random order of reads that only its past can tell, by a real NBD client."""

import random
import time

import nbd

from lab import Attachment, Lab, MIB, Region

PAGE = 4096
SIZE = 64 * MIB
READS = 600

lab = Lab()
region = Region(lab)
images = {}
for name, seed in (("debian", 1), ("other", 2)):
    images[name] = lab.dir / f"{name}.raw"
    images[name].write_bytes(random.Random(seed).randbytes(SIZE))
for volume, image in (("vm1", "debian"), ("vm2", "debian"), ("vm3", "other")):
    lab.check(f"import of {volume}", region.cli("volume", "import", images[image], volume).returncode == 0)
named = {volume: region.json("volume", "info", volume)["image"] for volume in ("vm1", "vm2", "vm3")}
lab.check("volumes of one image know it, and the other one is told apart",
          named["vm1"] and named["vm1"] == named["vm2"] != named["vm3"], named)

boot = random.Random(3).sample(range(SIZE // PAGE), READS)


def attach_and_boot(volume):
    """Whose knowledge the driver began with, and the share of the reads that had to wait for a server."""
    attachment = Attachment(region, volume, cache="8M")
    began = region.json("predict", "status", volume)["learned_before"]
    client = nbd.NBD()
    client.connect_uri(attachment.uri)
    content = images["other" if volume == "vm3" else "debian"].read_bytes()
    right = True
    for page in boot:
        right = right and client.pread(PAGE, page * PAGE) == content[page * PAGE:(page + 1) * PAGE]
        time.sleep(0.0005)
    client.shutdown()
    missed = region.json("prefetch", "stats", volume)["missed_requests"] / READS
    text = region.cli("predict", "status", volume).stdout
    lab.check(f"{volume}: every byte is right", right)
    lab.check(f"{volume}: detach", attachment.stop())
    return began, missed, text


began, missed, text = attach_and_boot("vm1")
lab.check("the first boot is like no other", began["from"] == "nobody" and missed > 0.9, (began, missed))
lab.check("and says so", "nothing learned before" in text, text)
began, missed, text = attach_and_boot("vm2")
lab.check("the first boot of another VM of the image is foreseen", missed < 0.3, (began, missed))
lab.check("because of the first VM", named["vm1"] in began["from"] and began["recordings"] == 1, began)
lab.check("the recording was recognised", "of VMs of image" in text and "of 1 recordings" in text, text)
began, missed, _ = attach_and_boot("vm3")
lab.check("a VM of another image gets nothing of it", began["from"] == "nobody" and missed > 0.9, (began, missed))
region.kill()
region.start()
began, missed, _ = attach_and_boot("vm1")
lab.check("after the region was killed it is still known",
          began["from"] == "this volume" and missed < 0.3, (began, missed))

labelled = region.cli("volume", "create", "vm4", "--size", "64M", "--image", named["vm1"])
lab.check("an image may be named", labelled.returncode == 0
          and region.json("volume", "info", "vm4")["image"] == named["vm1"], labelled.stderr)
wrong = region.cli("volume", "create", "vm5", "--size", "64M", "--image", "No Such Name")
lab.check("but not by what is no name", wrong.returncode != 0 and "No Such Name" in wrong.stderr, wrong.stderr)
region.stop()
lab.finish()
