#!/usr/bin/env python3
"""How long `foreshard attach` takes for a thin volume of 16 TiB beside one of 1 GiB: from the start of the process to
its line "ready", median of ten, alternating. Prints both and their ratio; fails when it is above 1.5."""

import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "system"))
from lab import FORESHARD, Lab, Region, stop  # noqa: E402

ROUNDS = 10


def attach_seconds(lab, region, name):
    command = [FORESHARD, "attach", name, "--nbd", f"unix:{lab.dir}/{name}.nbd", "--region", region.address]
    begin = time.monotonic()
    with open(lab.dir / f"{name}.log", "ab") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True)
    lab.processes.append(process)
    line = process.stdout.readline()
    taken = time.monotonic() - begin
    if not line.startswith("ready"):
        raise RuntimeError(f"attach {name} said {line!r}")
    if not stop(process):
        raise RuntimeError(f"detach of {name} was not clean")
    return taken


lab = Lab()
region = Region(lab)
sizes = {"small": "1G", "large": "16T"}
for volume, size in sizes.items():
    region.create(volume, size=size, volumelet="1G")
seconds = {volume: [] for volume in sizes}
for _ in range(ROUNDS):
    for volume in sizes:
        seconds[volume].append(attach_seconds(lab, region, volume))
small, large = (statistics.median(seconds[volume]) * 1000 for volume in sizes)
print(f"attach, median of {ROUNDS}: 1 GiB {small:.1f} ms, 16 TiB {large:.1f} ms, "
      f"ratio {large / small:.2f} (wanted <= 1.5)")
region.stop()
sys.exit(0 if large <= 1.5 * small else 1)
