#!/usr/bin/python3
"""Runs every acceptance suite that takes a URI against a volume of 4 MiB volumelets spread over six servers, and at the
end sees that region and driver are the same processes still. Usage: test_accept.py [SUITE...] [--seconds N]"""

import argparse
import os
import pathlib
import shutil

import accept
from lab import Attachment, Lab, Region

parser = argparse.ArgumentParser()
parser.add_argument("suites", nargs="*", default=list(accept.SUITES))
parser.add_argument("--seconds", type=int, default=12, help="of each of nbdtorture's runs")
arguments = parser.parse_args()

lab = Lab()
if accept.torture(lab) is None:
    # Not a real client but another project's programs: a plain checkout does not have them, CI neither.
    lab.skipped += 1
    print("skip acceptance suites: FORESHARD_ACCEPT names no folder with them", flush=True)
    lab.finish()
region = Region(lab)
for suite in arguments.suites:
    absent = [tool for tool in accept.SUITES[suite] if shutil.which(tool) is None]
    if suite == "nbd-loop-fs" and not (os.path.exists("/dev/fuse") and os.path.exists("/dev/loop-control")):
        absent.append("/dev/fuse and /dev/loop-control")
    if absent:
        lab.skip(f"suite {suite}", "not there: " + ", ".join(absent))
        continue
    region.create(suite, size="512M")
    attachment = Attachment(region, suite)
    options = []
    if suite == "nbdtorture":
        options = [arguments.seconds, "--boundary", "4194304", "--pid", attachment.process.pid]
    done = lab.run(pathlib.Path(accept.FOLDER) / "suites" / f"{suite}.sh", attachment.uri, *options, seconds=840,
                   env={**os.environ, "WORK": str(accept.WORK)})
    found = accept.counts(done.stdout)
    if found is None:
        lab.check(f"suite {suite} ends with its closing line", False, done.stdout + done.stderr)
    else:
        lab.passed += found[0]
        lab.skipped += found[2]
        print(f"     suite {suite}: {found[0]} passed, {found[1]} failed, {found[2]} skipped", flush=True)
        for line in done.stdout.splitlines():
            if line.startswith(("FAIL", "VIOLATION")):
                print(line)
        for n in range(found[1]):
            lab.check(f"suite {suite}, failure {n + 1}", False)
    lab.check(f"{suite}: the driver lives", attachment.process.poll() is None, attachment.log())
    lab.check(f"{suite}: clean detach", attachment.stop(), attachment.log())
lab.check("the region lives and stops cleanly", region.process.poll() is None and region.stop(), region.log())
lab.finish()
