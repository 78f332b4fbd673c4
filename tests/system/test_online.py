#!/usr/bin/python3
"""Proves online training on live drivers: when 20,000 requests are recorded, an attached driver trains a model of them
in the background; the first goes live, a later one only by the rule, whose numbers `predict status` tells; what went
live is put into the region, from where the driver of another volume begins with it and refuses its own worse one; CPU
stays within the shares; and every byte read meanwhile is right.

The reads walk through a volume by steps which depend on the two steps before, nine times out of ten: what a sequence
model learns, and tables of places or of last steps do not."""

import random
import re
from pathlib import Path

import nbd

from lab import Attachment, FORESHARD, Lab, MIB, Region

PAGE = 4096
SIZE = 256 * MIB
PAGES = SIZE // PAGE
ENOUGH = 20_500  # reads for a training; of 20,000 on there is one
STEPS = 12
MARGIN, DEVIATIONS = 0.02, 3  # the rule by which a later model takes over

lab = Lab()
if not (Path(FORESHARD).parent / "foreshard_train_torch.so").exists():
    lab.skip("online training", "the training module was not built: libtorch-dev was missing")
    lab.finish()
content = b"".join(random.Random(i).randbytes(MIB) for i in range(SIZE // MIB))


class Walk:
    """Pages, one after the other; `rule` says which step follows which two."""

    def __init__(self, rule):
        chance = random.Random(rule)
        self.steps = [chance.randrange(-300, 900) for _ in range(STEPS)]
        self.follows = [[chance.randrange(STEPS) for _ in range(STEPS)] for _ in range(STEPS)]
        self.chance = chance
        self.last = (0, 0)
        self.page = 0

    def __next__(self):
        step = self.follows[self.last[0]][self.last[1]] if self.chance.random() < 0.9 else self.chance.randrange(STEPS)
        self.last = (self.last[1], step)
        self.page = (self.page + self.steps[step]) % PAGES
        return self.page


class Disk:
    """A volume with that content behind a driver with a cache of 1 MiB, and what its driver says of itself."""

    def __init__(self, name, *options):
        region.create(name, size=SIZE)
        self.name = name
        self.attachment = Attachment(region, name, cache="1M", options=options)
        self.client = nbd.NBD()
        self.client.connect_uri(self.attachment.uri)
        self.wrong = self.reads = 0
        for offset in range(0, SIZE, 8 * MIB):
            self.client.pwrite(content[offset:offset + 8 * MIB], offset)

    def read(self, walk, reads, at_once=4):
        pending = []
        for _ in range(reads):
            page, into = next(walk), nbd.Buffer(PAGE)
            pending.append((self.client.aio_pread(into, page * PAGE), page, into))
            if len(pending) == at_once:
                self._take(*pending.pop(0))
        while pending:
            self._take(*pending.pop(0))
        self.reads += reads

    def _take(self, cookie, page, into):
        while not self.client.aio_command_completed(cookie):
            self.client.poll(-1)
        self.wrong += into.to_bytearray() != content[page * PAGE:(page + 1) * PAGE]

    def status(self):
        return region.json("predict", "status", self.name)

    def training(self):
        return self.status()["training"]

    def outcomes(self):
        training = self.training()
        return training["replaced"] + training["kept"] + training["failures"]

    def wait_for_outcomes(self, count):
        lab.wait_for(f"outcome {count} on {self.name}", lambda: self.outcomes() == count, self.attachment.process, 300)
        return self.training()

    def check_the_expert(self):
        """Its share of the time since its first model, 20 ms that it may save up, 100 more for what is not exact."""
        neural = self.status()["neural"]
        passed_s = neural["cpu_s"] / neural["cpu_share"]
        lab.check(f"{self.name}: the expert keeps to its share of a CPU",
                  0 < neural["cpu_s"] <= neural["cpu_share_max"] * passed_s + 0.12, neural)
        lab.check(f"{self.name}: reads are taken in or counted as left out",
                  neural["steps"] > 0 and neural["observed"] + neural["dropped"] <= self.reads, neural)
        experts = region.json("prefetch", "stats", self.name)["experts"]
        pages = next(expert["pages"] for expert in experts if expert["name"] == "lstm")
        lab.check(f"{self.name}: some of what it proposed was read", pages["used"] + pages["shadow_used"] > 0, pages)
        print(f"     {pages}")

    def end(self):
        lab.check(f"{self.name}: all {self.reads:,} reads were right", self.wrong == 0, self.wrong)
        self.client.shutdown()
        lab.check(f"{self.name}: detach", self.attachment.stop(), self.attachment.log())


def by_the_rule(training):
    return training["gain"] >= MARGIN and training["gain"] >= DEVIATIONS * training["deviation"]


def models():
    return {one["number"]: one["summary"] for one in region.json("model", "list")}


# ---- the first model
region = Region(lab, zones="a", servers_per_zone=1)
first = Disk("disk1", "--train-online", "--train-cpu", "100")
walk = Walk("one")
first.read(walk, 15_000)
lab.check("too little for a training", first.training()["trainings"] == 0, first.training())
lab.check("there is no trained expert yet", "neural" not in first.status(), first.status())
first.read(walk, ENOUGH - 15_000)
training = first.wait_for_outcomes(1)
lab.check("the first training's model goes live",
          training["replaced"] == 1 and training["recorded"] >= 20_000, training)
lab.check("judged on the latest fifth, compared with nothing",
          3500 < training["answers"] < 4500 and training["gain"] == 0, training)
neural = first.status()["neural"]
lab.check("the driver runs it", neural["model"] == "trained here" and neural["models"] == 1, neural)
lab.wait_for("it is put into the region", lambda: first.status()["region_models"]["published"] == 1)
lab.check("where it says whence it is", models() == {1: "trained online on volume disk1"}, models())

# ---- the driver of another volume begins with it, and trains too
second = Disk("disk2", "--model", "region", "--train-online", "--train-cpu", "1")
lab.check("a second driver runs the model of the first",
          second.status()["neural"]["model"] == "region:1", second.status())
log = second.attachment.log()
lab.check("and says so", "model 1 of the region is live" in log, log)
second.read(walk, 3000)
neural = second.status()["neural"]
lab.check("there it makes steps and proposals",
          neural["observed"] > 1000 and min(neural["steps"], neural["proposed"]) > 0, neural)
# Of these its own training learns; the last fifth, which decides, is again what the present model knows.
second.read(Walk("two"), 13_500)
second.read(walk, ENOUGH - 16_500)

# ---- the first driver's reads become others, so that its second model is better
other = Walk("three")
first.read(other, ENOUGH)
training = second.wait_for_outcomes(1)
lab.check("the second driver's own model is refused, by the rule",
          training["kept"] == 1 and training["answers"] > 3500 and not by_the_rule(training), training)
log = second.attachment.log()
told = re.search(r"does not go live: loss lower by (\S+) \+- (\S+) on (\d+)", log)
lab.check("the log has the numbers too", told is not None and abs(float(told[1]) - training["gain"]) < 0.001
          and int(told[3]) == training["answers"], log)
lab.check("it runs what it ran, and the region has nothing of it",
          second.status()["neural"]["model"].startswith("region:") and "disk2" not in str(models()), models())
second.read(walk, ENOUGH)
training = first.wait_for_outcomes(2)
lab.check("the first driver's second model takes over, by the rule",
          training["replaced"] == 2 and by_the_rule(training), training)
lab.wait_for("it is in the region as well", lambda: list(models()) == [1, 2])
text = region.cli("predict", "status", "disk1").stdout
lab.check("the text tells it",
          "2 trainings, 2 went live" in text and f"on {training['answers']} answers" in text, text)
first.read(other, 3000)
neural = first.status()["neural"]
lab.check("it makes steps and proposals",
          neural["models"] == 2 and neural["observed"] > 0 and min(neural["steps"], neural["proposed"]) > 0, neural)


def decided():
    models_seen = second.status()["region_models"]
    return models_seen["adopted"] + models_seen["refused"] == 2 and models_seen["waiting"] == 0


lab.wait_for("the second driver compares it with its own", decided, second.attachment.process)
log = second.attachment.log()
lab.check("and says with which numbers", re.search(r"model 2 of the region is .* on \d+ of its own requests", log), log)

# ---- what it cost
for disk in (first, second):
    disk.check_the_expert()
lab.check("what training cost is told", first.training()["cpu_s"] > 0, first.training())
training = second.training()
lab.check("with 1 % there is one training, though enough is recorded for two",
          training["trainings"] == 1 and training["recorded"] > 40_000 and training["cpu_s"] > 0, training)
print(f"     {first.training()}\n     {first.status()['neural']}\n     {training}\n     {second.status()['neural']}")
first.end()
second.end()

# ---- it outlives them
region.stop()
region.start()
lab.check("the models are there after a restart", list(models()) == [1, 2], models())
lab.finish()
