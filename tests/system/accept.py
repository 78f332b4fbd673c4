"""The acceptance programs, which are kept outside this repository: independent of its code, so that they find what its
own tests share its mistakes about. FORESHARD_ACCEPT names their folder; tests that need them are skipped without it."""

import os
import pathlib
import re

from lab import ROOT

FOLDER = os.environ.get("FORESHARD_ACCEPT") or None
WORK = ROOT / "build" / "accept"
# Suites that take a URI, with what they need beside libnbd's and QEMU's tools.
SUITES = {"qemu-io": [], "nbdcopy": ["jq", "nbdsh"], "fio-verify": ["fio"], "nbdtorture": [],
          "nbd-loop-fs": ["nbdfuse", "stress-ng", "mkfs.xfs", "mkfs.btrfs", "losetup"]}


def torture(lab):
    """Path of nbdtorture, built when needed; None without the folder."""
    if FOLDER is None or not (pathlib.Path(FOLDER) / "nbdtorture.cc").exists():
        return None
    (WORK / "bin").mkdir(parents=True, exist_ok=True)
    made = lab.run("make", "-s", "-C", FOLDER, f"OUT={WORK}/bin", seconds=600)
    if made.returncode != 0:
        raise RuntimeError(f"the acceptance programs do not build: {made.stderr}")
    return WORK / "bin" / "nbdtorture"


def counts(text):
    """(passed, failed, skipped) of a closing line, or None."""
    found = re.findall(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", text, re.MULTILINE)
    return tuple(map(int, found[-1])) if found else None
