"""Damage to single pages in the data files of a region, put there behind its back: flipped bits, two pages exchanged,
a page as an earlier write had left it, a page that reads as zeros. Every page of a volume holds content that names it
and its generation, so that it is found in the files by what it holds; the store's format is not needed for that.

A round damages some pages and then demands: each is found and none is served, every other page reads right, the logs
name volume and offset, scrub lists exactly what was damaged; and writing the pages anew heals them."""

import hashlib
import json
import re
import struct

import nbd

from lab import Attachment, FORESHARD, MIB

PAGE = 4096
PAGES_PER_READ = 64
KINDS = ["flip", "swap", "stale", "lost"]
# When the damage is done: to a region at rest, to one that runs and has read nothing yet, to one that was killed after
# writing other pages.
STATES = ["stopped", "running", "killed"]


def content(page, generation):
    """What a page holds: 16 bytes that say so, and 4080 that follow from them."""
    head = struct.pack("<QQ", 0x7067000000000000 | page, generation)
    return head + hashlib.shake_128(head).digest(PAGE - len(head))


class PageVolume:
    """One volume, full of such pages, and where each of them lies."""

    def __init__(self, lab, region, name="pages", size=128 * MIB):
        self.lab, self.region, self.name = lab, region, name
        self.pages = size // PAGE
        self.generation = [0] * self.pages
        self.damaged = 0
        self.by_kind = dict.fromkeys(KINDS, 0)
        region.create(name, size=size)
        self.id = region.json("volume", "info", name)["id"]
        self.attachment = Attachment(region, name, cache="16M")
        handle = self.connect()
        for _ in range(2):  # so that every page has an earlier content
            self.write(handle, range(self.pages))
        handle.shutdown()

    def connect(self):
        handle = nbd.NBD()
        handle.connect_uri(self.attachment.uri)
        return handle

    def write(self, handle, pages):
        """A new generation of these pages, flushed."""
        pages = sorted(pages)
        for run in runs(pages):
            for page in run:
                self.generation[page] += 1
            handle.pwrite(b"".join(content(page, self.generation[page]) for page in run), run[0] * PAGE)
        handle.flush()

    def locate(self):
        """Page -> (file, offset), by content."""
        places = {}
        for path in sorted(self.region.dir.glob("server-*/slots/*")):
            with open(path, "rb") as file:
                at = 0
                while block := file.read(MIB):
                    for offset in range(0, len(block) - 15, PAGE):
                        page, generation = struct.unpack_from("<QQ", block, offset)
                        if page >> 48 == 0x7067 and self.generation[page & 0xffffffff] == generation:
                            places[page & 0xffffffff] = (path, at + offset)
                    at += len(block)
        return places

    # ---- a round

    def round(self, chance, state, count):
        self.attachment.stop()
        if state == "killed":
            self.lab.check("clean stop", self.region.stop(), self.region.log())
            self.region.start()
            self.attachment.start()
            handle = self.connect()
            written = chance.sample(range(self.pages), 200)
            self.write(handle, written)
            handle.shutdown()
            self.attachment.stop()
            self.region.kill()
        else:
            self.lab.check("clean stop", self.region.stop(), self.region.log())
            written = []
        places = self.locate()
        self.lab.check("every page is found in the files", len(places) == self.pages, len(places))
        # What was written just before a kill may be torn by it: there damage cannot be told from that (R-TORN).
        bad = set(chance.sample(sorted(set(range(self.pages)) - set(written)), count))
        region_log, driver_log = size_of(self.region.process.log), size_of(self.attachment.process.log)
        if state == "running":
            self.region.start()
            self.attachment.start()
            self.damage(chance, bad, places)
        else:
            self.damage(chance, bad, places)
            self.region.start()
            self.attachment.start()
        self.judge(chance, bad, state)
        logged = logged_offsets(self.region.process.log, region_log, str(self.id))
        self.lab.check(f"{state}: the region's log names volume and offset of each", logged == {p * PAGE for p in bad},
                       f"{len(logged)} of {len(bad)}")
        logged = logged_offsets(self.attachment.process.log, driver_log, self.name)
        self.lab.check(f"{state}: so does the driver's", logged == {p * PAGE for p in bad},
                       f"{len(logged)} of {len(bad)}")
        self.heal(chance, bad)
        self.damaged += len(bad)

    def damage(self, chance, bad, places):
        """Does it to all of `bad`, a kind each in turn."""
        files = {path: open(path, "r+b", buffering=0) for path in {place[0] for place in places.values()}}
        order = sorted(bad)
        chance.shuffle(order)
        at = 0
        while at < len(order):
            kind = KINDS[at // 2 % len(KINDS)]
            page = order[at]
            new = {}
            if kind == "swap" and at + 1 < len(order):
                other = order[at + 1]
                new = {page: content(other, self.generation[other]), other: content(page, self.generation[page])}
            elif kind == "stale":
                new[page] = content(page, self.generation[page] - 1)
            elif kind == "lost":
                new[page] = bytes(PAGE)
            else:
                bits = bytearray(content(page, self.generation[page]))
                bits[chance.randrange(PAGE)] ^= 1 << chance.randrange(8)
                new[page] = bytes(bits)
            for place, data in new.items():
                path, offset = places[place]
                files[path].seek(offset)
                files[path].write(data)
            self.by_kind[kind] += len(new)
            at += len(new)
        for file in files.values():
            file.close()

    def judge(self, chance, bad, state):
        handle = self.connect()
        served, wrong, errors = [], [], set()
        for page in sorted(bad):
            try:
                handle.pread(PAGE, page * PAGE)
                served.append(page)
            except nbd.Error as error:
                errors.add(error.errno)
        # A longer read around it is refused too, a shorter one inside it as well; part of it cannot be written.
        for page in chance.sample(sorted(bad), min(20, len(bad))):
            first = max(0, page - chance.randrange(8))
            for what in (lambda f=first: handle.pread(16 * PAGE if f + 16 <= self.pages else PAGE * (self.pages - f),
                                                      f * PAGE),
                         lambda p=page: handle.pread(512, p * PAGE + 1024),
                         lambda p=page: handle.pwrite(bytes(512), p * PAGE + 512)):
                try:
                    what()
                    served.append(page)
                except nbd.Error as error:
                    errors.add(error.errno)
        for run in runs(sorted(set(range(self.pages)) - bad)):
            try:
                read = handle.pread(len(run) * PAGE, run[0] * PAGE)
            except nbd.Error as error:
                wrong.append((run[0], str(error)))
                continue
            if read != b"".join(content(page, self.generation[page]) for page in run):
                wrong.append((run[0], len(run)))
        handle.shutdown()
        self.lab.check(f"{state}: {len(bad)} damaged pages: none is served", not served, served[:10])
        self.lab.check(f"{state}: each is a clean EIO", errors == {"EIO"}, errors)
        self.lab.check(f"{state}: all other pages read right", not wrong, wrong[:5])
        self.lab.check(f"{state}: the driver lives", self.attachment.process.poll() is None, self.attachment.log())
        self.scrub(bad, state)

    def scrub(self, bad, state):
        words = [self.name] if len(bad) % 2 == 0 else ["--all"]
        done = self.lab.run(FORESHARD, "scrub", *words, "--rate", "1G", "-o", "json", "--region", self.region.address)
        found = json.loads(done.stdout)["bad"]
        self.lab.check(f"{state}: scrub names exactly these",
                       sorted(one["offset"] for one in found) == [page * PAGE for page in sorted(bad)] and
                       all(one["bytes"] == PAGE and one["volume"] == self.name and one["server"] > 0 for one in found),
                       f"{len(found)} of {len(bad)}: {found[:3]}")
        self.lab.check(f"{state}: its status says so", done.returncode == (7 if bad else 0), done.returncode)

    def heal(self, chance, bad):
        """By writing all of each page; some are trimmed first."""
        handle = self.connect()
        for page in sorted(bad):
            if chance.random() < 0.1:
                handle.trim(PAGE, page * PAGE)
                zeros = handle.pread(PAGE, page * PAGE)
                if zeros != bytes(PAGE):
                    self.lab.check("a trimmed page reads as zeros", False, page)
        self.write(handle, bad)
        wrong = [page for page in sorted(bad)
                 if handle.pread(PAGE, page * PAGE) != content(page, self.generation[page])]
        handle.shutdown()
        self.lab.check("writing them anew heals them", not wrong, wrong[:10])
        self.scrub(set(), "healed")


def runs(pages):
    """Neighbours together, as much as one request is to hold."""
    run = []
    for page in pages:
        if run and (page != run[-1] + 1 or len(run) == PAGES_PER_READ):
            yield run
            run = []
        run.append(page)
    if run:
        yield run


def size_of(path):
    return path.stat().st_size


def logged_offsets(path, since, volume):
    with open(path, "rb") as log:
        log.seek(since)
        text = log.read().decode(errors="replace")
    return {int(found) for found in re.findall(rf"volume {re.escape(volume)} offset (\d+):", text)}
