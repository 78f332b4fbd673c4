#!/usr/bin/env python3
"""Proves the NBD front end by itself, over a disk in memory: real clients find its features and get back what they
wrote, several exports and listeners stand side by side, and malformed or hostile conversations harm nobody."""

import json
import os
import shutil
import socket as network
import stat
import struct

import accept
from lab import Lab, MIB, ROOT, same, stop

SIZE = 256 * MIB
NBD_MEMORY = os.environ.get("NBD_MEMORY", str(ROOT / "build" / "nbd_memory"))

lab = Lab()
lab.needs("nbdinfo", "nbdcopy")
socket = lab.dir / "s"


def serve(address, *names):
    process = lab.start(NBD_MEMORY, address, SIZE, *names)
    lab.wait_for("nbd_memory ready", lambda: b"ready" in process.log.read_bytes(), process)
    return process


def uri(name):
    return f"nbd+unix:///{name}?socket={socket}"


server = serve(f"unix:{socket}", "one", "two")
lab.check("the socket is private", stat.S_IMODE(os.stat(socket).st_mode) == 0o600)

export = json.loads(lab.run("nbdinfo", "--json", uri("one")).stdout)["exports"][0]
for feature, wanted in {"export-name": "one", "export-size": SIZE, "is_read_only": False, "can_multi_conn": True,
                        "can_flush": True, "can_fua": True, "can_trim": True, "can_zero": True, "can_cache": True,
                        "can_df": True, "can_fast_zero": False, "block_size_minimum": 1, "block_size_preferred": 4096,
                        "block_size_maximum": 32 * MIB}.items():
    lab.check(f"nbdinfo: {feature}", export.get(feature) == wanted, f"{export.get(feature)} instead of {wanted}")
lab.check("nbdinfo: base:allocation", export.get("contexts") == ["base:allocation"], export)
listed = json.loads(lab.run("nbdinfo", "--json", "--list", f"nbd+unix:///?socket={socket}").stdout)
lab.check("two exports are listed", [e["export-name"] for e in listed["exports"]] == ["one", "two"], listed)
lab.check("an unknown export is refused", lab.run("nbdinfo", uri("three")).returncode != 0)
lab.check("no name among two is refused", lab.run("nbdinfo", f"nbd+unix:///?socket={socket}").returncode != 0)

image = lab.dir / "image"
with open(image, "wb") as out:
    out.truncate(SIZE)
    for n in range(16):
        out.seek(n * 13 * MIB + n * 37)
        out.write(os.urandom((n + 1) * 250_000))
back = lab.dir / "back"
for options in ([], ["--connections=4", "--requests=32"], ["--connections=1", "--request-size=4096"],
                ["--synchronous"]):
    name = " ".join(options) or "plain"
    lab.succeeds(f"nbdcopy in: {name}", "nbdcopy", "--flush", *options, image, uri("one"))
    lab.succeeds(f"nbdcopy out: {name}", "nbdcopy", *options, uri("one"), back)
    lab.check(f"identical: {name}", same(image, back))
lab.succeeds("export to export", "nbdcopy", "--flush", uri("one"), uri("two"))
extents = json.loads(lab.run("nbdinfo", "--map", "--json", uri("one")).stdout)
lab.check("the map covers the disk", sum(e["length"] for e in extents) == SIZE, extents[-3:])

if shutil.which("qemu-img") and shutil.which("qemu-io"):
    lab.succeeds("equal by qemu-img", "qemu-img", "compare", "-f", "raw", "-F", "raw", uri("one"), uri("two"))
    qcow2, raw = lab.dir / "image.qcow2", lab.dir / "raw"
    lab.succeeds("qcow2 made", "qemu-img", "convert", "-f", "raw", "-O", "qcow2", image, qcow2)
    lab.succeeds("qcow2 in", "qemu-img", "convert", "-n", "-f", "qcow2", "-O", "raw", qcow2, uri("two"))
    lab.succeeds("raw out", "qemu-img", "convert", "-f", "raw", "-O", "raw", uri("two"), raw)
    lab.check("qcow2 in, raw out: identical", same(image, raw))
    patterns = ["write -P 3 1M 1M", "write -z 1200k 100k", "read -P 0 1200k 100k", "read -P 3 1300k 100k",
                "write -P 2 1000 3000", "read -P 2 1000 3000", "write -f -P 5 2M 4k", "flush", "read -P 5 2M 4k",
                "writev -P 6 3M 512 4096 512 8192", "readv -P 6 3M 13312", "discard 4M 1M", "read -P 0 4M 1M"]
    done = lab.run("qemu-io", "-f", "raw", *[word for p in patterns for word in ("-c", p)], uri("two"))
    text = done.stdout + done.stderr
    lab.check("qemu-io patterns", done.returncode == 0 and "failed" not in text, text)
else:
    lab.skip("qemu", "qemu-img or qemu-io is not installed")

if shutil.which("fio") and "nbd" in lab.run("fio", "--enghelp").stdout:
    lab.succeeds("fio verifies", "fio", "--name=v", "--ioengine=nbd", f"--uri={uri('two')}", "--rw=randrw",
                 "--bsrange=512-128k", "--blockalign=512", "--iodepth=16", "--io_size=128m", f"--size={SIZE}",
                 "--verify=crc32c", "--verify_fatal=1", "--verify_backlog=512", "--verify_state_save=0", cwd=lab.dir)
else:
    lab.skip("fio", "not installed, or built without its nbd engine")

torture = accept.torture(lab)
if torture is None:
    lab.skipped += 1
    print("skip nbdtorture: FORESHARD_ACCEPT names no folder with it", flush=True)
else:
    pid = ["--pid", server.pid]
    lab.succeeds("nbdtorture run", torture, "run", 8, *pid, "--journal", lab.dir / "journal", uri("two"))
    lab.succeeds("nbdtorture probe", torture, "probe", *pid, uri("two"))
    lab.succeeds("nbdtorture fuzz", torture, "fuzz", 10, *pid, uri("two"))

# ---- one host cannot hold every connection
port = 20000 + os.getpid() % 20000
public = serve(f"tcp:127.0.0.1:{port}", "one")


def enter(host):
    """A client's connection past its handshake, from the address given; None when it is not let in."""
    link = network.create_connection(("127.0.0.1", port), timeout=20, source_address=(host, 0))
    link.recv(18, network.MSG_WAITALL)
    link.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", 1, 3) + b"one")
    return link if len(link.recv(10, network.MSG_WAITALL)) == 10 else None


hog = [enter("127.0.0.1") for n in range(64)]
lab.check("64 connections of one host", None not in hog)
lab.check("a 65th of the same host is refused", enter("127.0.0.1") is None)
newcomer = enter("127.0.0.2")
lab.check("another host's first is let in", newcomer is not None)
hog[0].settimeout(20)
lab.check("in place of the one silent longest", hog[0].recv(1) == b"")
newcomer.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 7, 0, 512))
lab.check("and is served", len(newcomer.recv(16 + 512, network.MSG_WAITALL)) == 528)
for link in hog + [newcomer]:
    link.close()
lab.check("it ends in good order", stop(public, 20), public.log.read_text())

server.kill()
server.wait()
server = serve(f"unix:{socket}", "only")
lab.check("a stale socket is replaced, and the only export needs no name",
          lab.run("nbdinfo", "--size", f"nbd+unix:///?socket={socket}").stdout.strip() == str(SIZE))
reader = lab.start("nbdsh", "-u", uri("only"), "-c", "import time; h.pread(512, 0); time.sleep(60)")
lab.wait_for("a client is in", lambda: lab.run("nbdinfo", uri("only")).returncode == 0, reader)
lab.check("SIGTERM ends it in good order though a client stays", stop(server, 20), server.log.read_text())
lab.finish()
