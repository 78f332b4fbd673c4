"""A client that knows what it may read: threads write generations of recognisable content to blocks of their own, over
a connection each, with flushes and FUA between; after a crash every sector must hold the last durable generation or a
later one, never a mix within a sector, never an older one. It checks what it reads while it runs, too.

Blocks are neither aligned nor whole pages, lie half a MiB apart, and every eighth straddles a bound of 4 MiB."""

import hashlib
import random
import threading

import nbd

SECTOR = 512
BLOCK = 6000
STRIDE = 512 * 1024


class Block:
    """Generations of one block: submitted, acknowledged, durable. 0 is the zeros it began with."""

    def __init__(self, number):
        self.number = number
        self.offset = (number + 1) * STRIDE - BLOCK // 2
        self.submitted = self.acknowledged = self.durable = 0

    def content(self, generation, seed):
        if generation == 0:
            return bytes(BLOCK)
        return hashlib.shake_128(f"{seed}.{self.number}.{generation}".encode()).digest(BLOCK)


class Stamps:
    def __init__(self, uri, size, seed, threads=4):
        self.uri, self.seed = uri, seed
        self.blocks = [Block(n) for n in range(size // STRIDE - 1)]
        self.threads = threads
        self.violations = []
        self.errors = []
        self.operations = 0
        self.stopping = False
        self.running = []

    def connect(self):
        handle = nbd.NBD()
        handle.connect_uri(self.uri)
        return handle

    # ---- running

    def start(self):
        self.stopping = False
        self.errors = []
        self.running = [threading.Thread(target=self._work, args=(n,), daemon=True) for n in range(self.threads)]
        for thread in self.running:
            thread.start()

    def join(self, seconds):
        """True when all have ended: they were told to, or their connections did."""
        for thread in self.running:
            thread.join(seconds)
        return not any(thread.is_alive() for thread in self.running)

    def stop(self, seconds=60):
        self.stopping = True
        return self.join(seconds)

    def _work(self, thread):
        chance = random.Random(f"{self.seed}.{thread}.{self.operations}")
        mine = self.blocks[thread::self.threads]
        try:
            handle = self.connect()
            while not self.stopping:
                self._operate(handle, chance, mine)
                self.operations += 1
        except nbd.Error as error:
            self.errors.append(f"{error.string} ({error.errno})")

    def _operate(self, handle, chance, mine):
        block = chance.choice(mine)
        what = chance.random()
        if what < 0.55:
            durable = chance.random() < 0.1
            generation = block.submitted = block.submitted + 1
            handle.pwrite(block.content(generation, self.seed), block.offset, nbd.CMD_FLAG_FUA if durable else 0)
            block.acknowledged = generation
            if durable:
                block.durable = generation
        elif what < 0.93:
            read = handle.pread(BLOCK, block.offset)
            if read != block.content(block.acknowledged, self.seed):
                self.violations.append(f"block {block.number} does not hold generation {block.acknowledged}")
        else:
            covered = [(one, one.acknowledged) for one in mine]
            handle.flush()
            for one, generation in covered:
                one.durable = max(one.durable, generation)

    # ---- judging

    def verify(self, strict):
        """After a crash: each sector is of one generation from the durable (strict: the acknowledged) one on.
        What was found is made the content from here on."""
        handle = self.connect()
        older = 0
        for block in self.blocks:
            low = block.acknowledged if strict else block.durable
            read = handle.pread(BLOCK, block.offset)
            allowed = [block.content(generation, self.seed) for generation in range(low, block.submitted + 1)]
            begin = 0
            while begin < BLOCK:
                end = min(BLOCK, ((block.offset + begin) // SECTOR + 1) * SECTOR - block.offset)
                found = [n for n, content in enumerate(allowed) if content[begin:end] == read[begin:end]]
                if not found:
                    self.violations.append(f"block {block.number}+{begin}: no generation of {low}..{block.submitted}")
                elif low + found[-1] < block.acknowledged:
                    older += 1
                begin = end
            if handle.pread(BLOCK, block.offset) != read:
                self.violations.append(f"block {block.number}: a second read differs from the first")
            block.submitted += 1
            handle.pwrite(block.content(block.submitted, self.seed), block.offset)
            block.acknowledged = block.submitted
        handle.flush()
        for block in self.blocks:
            block.durable = block.acknowledged
        handle.shutdown()
        return older
