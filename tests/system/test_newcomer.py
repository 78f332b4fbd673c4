#!/usr/bin/python3
"""Proves that mistakes a newcomer makes are refused with a message that says what to do, and change nothing: wrong
units and names, unknown volumes, a second attach, another topology, growing and removing at the wrong moment, sockets
left over, a folder in use. Exit statuses tell failures from successes, and standard output stays clean for JSON."""

import json
import os
import socket
import stat
import time

from lab import Attachment, FORESHARD, Lab, Region

lab = Lab()
lab.needs("nbdinfo", "qemu-io")
region = Region(lab)


def refused(what, *words, says=()):
    """The command fails, tells it on standard error in plain words, and prints no crash."""
    done = region.cli(*words)
    text = done.stderr
    plain = done.returncode not in (0, 124) and done.returncode > 0 and done.stdout.strip() == ""
    missing = [word for word in says if word not in text]
    lab.check(what, plain and text.strip() != "" and not missing, f"rc {done.returncode}, lacks {missing}: {text}")


def accepted(what, *words):
    done = region.cli(*words)
    lab.check(what, done.returncode == 0, done.stderr)
    return done.stdout


# ---- words
refused("no such unit", "volume", "create", "v", "--size", "10X", says=["10X"])
refused("no size", "volume", "create", "v", says=["size"])
refused("not a multiple of 512", "volume", "create", "v", "--size", "1000", says=["512"])
refused("size zero", "volume", "create", "v", "--size", "0")
refused("an upper-case name", "volume", "create", "Volume", "--size", "1G", says=["Volume"])
refused("a name with a slash", "volume", "create", "a/b", "--size", "1G", says=["a/b"])
refused("a volumelet size that is no power of two", "volume", "create", "v", "--size", "1G", "--volumelet-size", "3M")
refused("an unknown zone", "volume", "create", "v", "--size", "1G", "--zone", "nowhere", says=["nowhere"])
refused("an unknown volume", "volume", "info", "nothing", says=["nothing"])
refused("an unknown verb", "volume", "explode", "v", says=["explode"])
refused("an unknown option", "volume", "ls", "--frobnicate", says=["frobnicate"])
refused("attach of an unknown volume", "attach", "nothing", "--nbd", f"unix:{lab.dir}/x", says=["nothing"])
refused("import of a missing file", "volume", "import", "/nonexistent/image", "v", says=["/nonexistent/image"])
listed = region.json("volume", "ls")
lab.check("nothing came of it", listed in ([], {"volumes": []}), listed)
done = lab.run(FORESHARD, "volume", "ls", "--region", f"unix:{lab.dir}/nowhere.sock")
lab.check("no region there", done.returncode not in (0, 124) and "nowhere.sock" in done.stderr, done.stderr)
for words in ([], ["volume"], ["volume", "create"], ["attach"], ["up"]):
    done = lab.run(FORESHARD, *words, "--help")
    lab.check(f"help of {words or 'all'}", done.returncode == 0 and len(done.stdout) > 100, done.stderr)

# ---- volumes
accepted("create", "volume", "create", "v", "--size", "256M", "--volumelet-size", "4M")
refused("create twice", "volume", "create", "v", "--size", "1G", says=["v", "already"])
info = region.json("volume", "info", "v")
lab.check("info as JSON", info["name"] == "v" and info["size_bytes"] == 256 << 20, info)
lab.check("ls as JSON", json.dumps(region.json("volume", "ls")).count('"v"') == 1)
lab.check("server ls: six in three zones", json.dumps(region.json("server", "ls")).count('"zone"') == 6)
refused("shrink", "volume", "resize", "v", "--size", "128M", says=["only grow"])

# ---- attachments
attachment = Attachment(region, "v")
mode = stat.S_IMODE(os.stat(attachment.socket).st_mode)
lab.check("the socket is private", mode == 0o600, oct(mode))
refused("a second attach", "attach", "v", "--nbd", f"unix:{lab.dir}/second", says=[str(attachment.process.pid)])
refused("rm while attached", "volume", "rm", "v", says=["attach"])
pattern = lab.run("qemu-io", "-f", "raw", "-c", "write -P 7 4190208 8192", attachment.uri)
lab.check("it serves on", pattern.returncode == 0, pattern.stdout + pattern.stderr)
accepted("grow while attached", "volume", "resize", "v", "--size", "384M")
lab.wait_for("the grown size at a new connection",
             lambda: lab.run("nbdinfo", "--size", attachment.uri).stdout.strip() == str(384 << 20), attachment.process)
grown = lab.run("qemu-io", "-f", "raw", "-c", "write -P 8 300M 8M", "-c", "read -P 8 300M 8M",
                "-c", "read -P 7 4190208 8192", "-c", "read -P 0 376M 1M", attachment.uri)
lab.check("the grown part serves", grown.returncode == 0 and "failed" not in grown.stdout, grown.stdout + grown.stderr)
accepted("detach by name", "detach", "v")
lab.wait_for("the driver ends", lambda: attachment.process.poll() is not None)
lab.check("with status 0", attachment.process.returncode == 0, attachment.log())
lab.check("its socket is gone", not attachment.socket.exists())
refused("detach of what is not attached", "detach", "v", says=["v"])

stale = lab.dir / "stale"
left = socket.socket(socket.AF_UNIX)
left.bind(str(stale))
left.close()
attachment = Attachment(region, "v", socket=stale)
lab.check("a stale socket is replaced", attachment.ready())
region.create("w", size="64M")
refused("a live socket is not", "attach", "w", "--nbd", f"unix:{stale}", says=[str(stale)])
(lab.dir / "plain-file").write_text("precious")
refused("nor is a file", "attach", "w", "--nbd", f"unix:{lab.dir}/plain-file", says=["plain-file"])
lab.check("the file is untouched", (lab.dir / "plain-file").read_text() == "precious")
attachment.kill()
begin = time.monotonic()
attachment = Attachment(region, "v", socket=stale)
lab.check("attach of a dead driver's volume takes over", time.monotonic() - begin < 15)
lab.check("clean detach", attachment.stop(), attachment.log())

# ---- removal
accepted("rm", "volume", "rm", "v")
refused("info after rm", "volume", "info", "v", says=["v"])
accepted("the same name again", "volume", "create", "v", "--size", "384M", "--volumelet-size", "4M")
attachment = Attachment(region, "v")
fresh = lab.run("qemu-io", "-f", "raw", "-c", "read -P 0 0 64M", "-c", "read -P 0 300M 8M", attachment.uri)
lab.check("shows no old data", fresh.returncode == 0 and "failed" not in fresh.stdout, fresh.stdout + fresh.stderr)
lab.check("detach", attachment.stop(), attachment.log())

# ---- the region itself
second = lab.run(*region.command, seconds=60)
lab.check("a second region in the folder is refused",
          second.returncode not in (0, 124) and str(region.dir) in second.stderr, second.stderr)
lab.check("clean stop", region.stop(), region.log())
other = lab.run(FORESHARD, "up", "--dir", region.dir, "--zones", "a,b", "--servers-per-zone", "2", seconds=60)
lab.check("another topology is refused with the difference",
          other.returncode not in (0, 124) and "a,b,c" in other.stderr.replace(", ", ","), other.stderr)
region.start()
lab.check("the same topology starts again", region.json("volume", "info", "v")["name"] == "v")
region.stop()
lab.finish()
