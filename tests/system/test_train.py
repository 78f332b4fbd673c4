#!/usr/bin/python3
"""Proves that `foreshard train` makes a model of recorded traces whose card can be shown, the same one for the same
seed, and refuses damaged models and traces with the right exit codes; and that no other command, nor `train --show`,
loads libtorch."""

import json
import random
import subprocess
from pathlib import Path

from lab import FORESHARD, Lab

lab = Lab()
lab.needs("zstd")
module = Path(FORESHARD).parent / "foreshard_train_torch.so"
if not module.exists():
    lab.skip("training", "the training module was not built: libtorch-dev was missing")
    lab.finish()

# ---- a trace: runs of reads that turn by what came two reads before
chance = random.Random(1)
trace = lab.dir / "walk.csv"
steps, page = [3, 5], 1000
with trace.open("w") as out:
    out.write("ts_us,vol,offset,size,op\n")
    for i in range(6000):
        out.write(f"{i * 100},0,{page * 4096},4096,R\n")
        steps.append(8 - steps[-2] if chance.random() < 0.95 else steps[-2])
        page += steps[-1]
packed = lab.dir / "walk.csv.zst"
lab.succeeds("packing the trace", "zstd", "-q", trace, "-o", packed)


def train(model, source=packed, *words, **options):
    return lab.run(FORESHARD, "train", source, "-o", model, "--cache", "0", "--epochs", "2", "--hidden", "32",
                   "--vocabulary", "16", "--output", "json", *words, **options)


def loads_libtorch(*words):
    done = lab.run(FORESHARD, *words, env={"LD_DEBUG": "files", "PATH": "/usr/bin:/bin"})
    return "libtorch_cpu.so" in done.stderr


first, second = lab.dir / "first.model", lab.dir / "second.model"
done = train(first)
lab.check("a model is made of a packed trace", done.returncode == 0 and first.stat().st_size > 1000, done.stderr)
said = json.loads(done.stdout)
lab.check("it is judged on the last 30 %", abs(said["answers"] - 1800) < 5, said)
lab.check("beside the baselines", all(key in said for key in ("model", "commonest", "markov", "history")), said)
lab.check("it was trained from the plain trace too", train(second, trace).returncode == 0)
weights = [path.read_bytes()[128:1_000_000] for path in (first, second)]
lab.check("the same seed makes the same model", weights[0] == weights[1])

done = lab.run(FORESHARD, "train", "--show", first)
card = json.loads(done.stdout)
lab.check("its card names data, split, versions and metrics",
          card["data"][0]["name"] == "walk.csv.zst" and card["split"]["train"] == 0.6
          and "libtorch" in card["versions"]["libraries"] and card["test"]["answers"] == said["answers"], done.stdout)
done = lab.run(FORESHARD, "train", "--judge", first, trace, "--cache", "0", "--output", "json")
lab.check("judged again, it is as good", abs(json.loads(done.stdout)["model"]["top_1"] - said["model"]["top_1"]) < 1e-6)

# ---- what is wrong is told, with the exit code for it
damaged = bytearray(first.read_bytes())
damaged[5000] ^= 1
(lab.dir / "damaged.model").write_bytes(damaged)
done = lab.run(FORESHARD, "train", "--show", lab.dir / "damaged.model")
lab.check("a damaged model is refused", done.returncode == 7 and "checksum" in done.stderr, done.stderr)
done = lab.run(FORESHARD, "train", "--show", lab.dir / "none.model")
lab.check("a missing one too", done.returncode == 3, done.stderr)
done = train(lab.dir / "no.model", trace, "--module", lab.dir / "none.so")
lab.check("a missing module is named", done.returncode == 3 and "none.so" in done.stderr, done.stderr)
(lab.dir / "bad.csv").write_text("ts_us,vol,offset,size,op\n1,0,x,4096,R\n")
done = train(lab.dir / "no.model", lab.dir / "bad.csv")
lab.check("a bad line of a trace is named", done.returncode == 2 and "line 2" in done.stderr, done.stderr)
(lab.dir / "cut.csv.zst").write_bytes(packed.read_bytes()[:-100])
done = train(lab.dir / "no.model", lab.dir / "cut.csv.zst")
lab.check("so is a cut file", done.returncode == 2 and "cut.csv.zst" in done.stderr, done.stderr)
lab.check("and no model is left", not (lab.dir / "no.model").exists())

# ---- who pays for libtorch
lab.check("--help does not load libtorch", not loads_libtorch("--help"))
lab.check("nor does --show", not loads_libtorch("train", "--show", first))
lab.check("training does", loads_libtorch("train", trace, "-o", lab.dir / "third.model", "--epochs", "1"))
linked = subprocess.run(["ldd", FORESHARD], capture_output=True, text=True, check=False).stdout
lab.check("the program is not linked against it", "libtorch" not in linked and "libhwy" in linked, linked)

lab.finish()
