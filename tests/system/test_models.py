#!/usr/bin/python3
"""Proves that a model added to a region is there after a restart, is taken by drivers that follow the region's models,
also by one that was attached before it came, makes steps there that `predict status` counts, and changes no answer;
that damaged files, garbage and models of another kind are refused with the right exit codes; and that a driver which
gets no model, or a bad one, serves its volume as before and says so in its log."""

import os
import random
from pathlib import Path

import nbd

from lab import Attachment, FORESHARD, Lab, MIB, Region

PAGE = 4096
SIZE = 64 * MIB

lab = Lab()
module = Path(FORESHARD).parent / "foreshard_train_torch.so"
if not module.exists():
    lab.skip("training", "the training module was not built: libtorch-dev was missing")
    lab.finish()


# ---- models: of a walk whose steps turn by what came two reads before; and of files, which no driver can use
def walk(seed, reads, pages):
    chance, steps, page = random.Random(seed), [3, 5], 100
    for _ in range(reads):
        yield page % pages
        steps.append(8 - steps[-2] if chance.random() < 0.95 else steps[-2])
        page += steps[-1]


trace = lab.dir / "walk.csv"
trace.write_text("ts_us,vol,offset,size,op\n" +
                 "".join(f"{i * 100},0,{page * PAGE},4096,R\n" for i, page in enumerate(walk(1, 4000, 1 << 40))))
good = lab.dir / "good.model"
lab.succeeds("training a small model", FORESHARD, "train", trace, "-o", good, "--cache", "0", "--epochs", "2",
             "--hidden", "32", "--vocabulary", "16", "-q")
files = lab.dir / "files.csv"
files.write_text("ts_us,pid,file_id,offset,size,op\n" +
                 "".join(f"{i * 100},1,{i % 7},0,4096,R\n" for i in range(800)))
of_files = lab.dir / "files.model"
lab.succeeds("training one for files", FORESHARD, "train", files, "-o", of_files, "--kind", "transformer", "--cache",
             "0", "--epochs", "1", "--vocabulary", "8", "-q")
damaged = lab.dir / "damaged.model"
flipped = bytearray(good.read_bytes())
flipped[5000] ^= 1
damaged.write_bytes(flipped)
garbage = lab.dir / "garbage.model"
garbage.write_bytes(random.Random(2).randbytes(100_000))

# ---- a region without models
region = Region(lab, zones="a", servers_per_zone=1)
region.create("disk", size=SIZE)
lab.check("a new region has no models", region.json("model", "list") == [])
attachment = Attachment(region, "disk", cache="1M", options=("--model", "region"))
client = nbd.NBD()
client.connect_uri(attachment.uri)
content = random.Random(3).randbytes(SIZE)
for offset in range(0, SIZE, 4 * MIB):
    client.pwrite(content[offset:offset + 4 * MIB], offset)


def reads_right(client, seed, reads):
    """Every answer is the volume's content; a cache of 1 MiB misses most of the walk."""
    return all(client.pread(PAGE, page * PAGE) == content[page * PAGE:page * PAGE + PAGE]
               for page in walk(seed, reads, SIZE // PAGE))


def neural():
    return region.json("predict", "status", "disk").get("neural", {})


lab.check("without a model the volume is served", reads_right(client, 4, 500))
lab.check("and the log says so", "no sound model" in attachment.log(), attachment.log())
lab.check("there is no such expert", not neural())

# ---- what is refused
for what, path, code, says in (("a damaged model", damaged, 7, "checksum"), ("garbage", garbage, 7, "garbage.model"),
                               ("a model for files", of_files, 2, "for files"),
                               ("a file that is not there", lab.dir / "none", 3, "none")):
    done = region.cli("model", "add", path)
    lab.check(f"{what} is refused", done.returncode == code and says in done.stderr,
              (done.returncode, done.stdout, done.stderr))
lab.check("nothing of them is there", region.json("model", "list") == [])

# ---- one is added
added = region.json("model", "add", good)
lab.check("a good one is added", added["number"] == 1 and added["kind"] == "lstm", added)
lab.wait_for("the attached driver takes it", lambda: neural().get("model") == "region:1", attachment.process)
lab.check("its reads are right", reads_right(client, 5, 1000))
lab.check("the model makes steps there", neural()["steps"] > 0 and neural()["observed"] > 100, neural())
lab.check("what it cost is counted", 0 < neural()["cpu_s"] < 5 and neural()["cpu_share_max"] > 0, neural())
text = region.cli("predict", "status", "disk").stdout
lab.check("the text tells it", "model region:1" in text and "steps" in text, text)

# ---- it survives
lab.check("the region stops", region.stop())
region.start()
listed = region.json("model", "list")
lab.check("it is there after a restart",
          [one["number"] for one in listed] == [1] and "walk.csv" in listed[0]["summary"], listed)
shown = region.json("model", "show", "1")
lab.check("with its card", shown["card"]["data"][0]["name"] == "walk.csv", shown)
client.shutdown()
lab.check("detach", attachment.stop())
attachment = Attachment(region, "disk", cache="1M", options=("--model", "region"))
lab.check("a new driver begins with it", neural().get("model") == "region:1", neural())
client = nbd.NBD()
client.connect_uri(attachment.uri)
lab.check("and reads right", reads_right(client, 6, 1000))
lab.check("with its steps", neural()["steps"] > 0, neural())

# ---- another one, once there is enough to compare on; and none
lab.check("the same again gets a number of its own", region.json("model", "add", good)["number"] == 2)
lab.succeeds("removing", FORESHARD, "model", "rm", "1", "--region", region.address)
done = region.cli("model", "rm", "1")
lab.check("a second time there is none", done.returncode == 3 and "no model 1" in done.stderr, done.stderr)
lab.check("the driver goes on with it", neural()["model"] == "region:1" and reads_right(client, 7, 200))
client.shutdown()
lab.check("detach again", attachment.stop())

# ---- bad files, and no training module
attachment = Attachment(region, "disk", cache="1M", options=("--model", damaged))
client = nbd.NBD()
client.connect_uri(attachment.uri)
lab.check("with a damaged file it is served", reads_right(client, 8, 300) and not neural())
lab.check("and the log names the file", "damaged.model" in attachment.log(), attachment.log())
client.shutdown()
lab.check("detach the third time", attachment.stop())
os.environ["FORESHARD_TRAIN_MODULE"] = "/nowhere/module.so"
attachment = Attachment(region, "disk", cache="1M", options=("--train-online",))
del os.environ["FORESHARD_TRAIN_MODULE"]
status = region.json("predict", "status", "disk")
lab.check("without the module there is no training, and why", "/nowhere" in status["training"]["fault"], status)
lab.check("detach the fourth time", attachment.stop())
attachment = Attachment(region, "disk", cache="1M", options=("--model", "region", "--train-online", "--train-cpu", "5"))
client = nbd.NBD()
client.connect_uri(attachment.uri)
lab.check("reads of a driver that trains are right", reads_right(client, 9, 500))
training = region.json("predict", "status", "disk")["training"]
lab.check("it records what it is asked", training["fault"] == "" and training["recorded"] > 300, training)
lab.check("and does not train on so little", training["trainings"] == 0, training)
client.shutdown()
lab.check("the last detach", attachment.stop())
lab.finish()
