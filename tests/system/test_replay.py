#!/usr/bin/python3
"""Proves that `foreshard replay` reads every format, compressed or not, and tells the same of the same requests
whatever the format; that its JSON has the keys that are promised and its figures those of a model of its own; and that
what is wrong is told in plain words."""

import collections
import json
import random
import struct

from lab import FORESHARD, Lab

lab = Lab()
lab.needs("zstd")
PAGE = 4096
KEYS = """requests read_requests read_request_miss_ratio page_miss_ratio late_ratio precision wasted_bytes
prefetched_bytes mean_latency_us p99_latency_us ece predict_ns_per_access predictor_bytes""".split()


def replay(*words):
    return lab.run(FORESHARD, "replay", *words)


def told(*words):
    done = replay(*words, "-o", "json")
    if done.returncode != 0:
        raise RuntimeError(f"{words}: {done.stderr}")
    return json.loads(done.stdout)


def requests_of(seed, count=4000):
    """(time in us, sector, sectors, read?): streams among requests that come again."""
    pick = random.Random(seed)
    places = [pick.randrange(1 << 20) * 8 for _ in range(400)]
    requests, stream = [], 1 << 24
    for i in range(count):
        if pick.random() < 0.5:
            requests.append((i * 1000, stream, 16, True))
            stream += 16
        else:
            requests.append((i * 1000, pick.choice(places), 8, pick.random() < 0.7))
    return requests


def block(requests):
    return "ts_us,vol,offset,size,op\n" + "".join(
        f"{us},0,{sector * 512},{sectors * 512},{'R' if read else 'W'}\n" for us, sector, sectors, read in requests)


def as_file(requests):
    return "ts_us,pid,file_id,offset,size,op\n0,1,7,0,0,O\n" + "".join(
        f"{us},1,7,{sector * 512},{sectors * 512},{'R' if read else 'W'}\n" for us, sector, sectors, read in requests)


def fio(requests):
    return "fio version 3 iolog\n0 /dev/a add\n0 /dev/a open\n" + "".join(
        f"{us} /dev/a {'read' if read else 'write'} {sector * 512} {sectors * 512}\n"
        for us, sector, sectors, read in requests) + "9999999 /dev/a close\n"


def vscsi(requests):
    return "version,time,op,size,lbn\n" + "".join(
        f"1,{us // 1000000}.{us % 1000000:06},{'28' if read else '2a'},{sectors * 512},{sector}\n"
        for us, sector, sectors, read in requests)


def blkparse(requests):
    lines = []
    for i, (us, sector, sectors, read) in enumerate(requests):
        seconds, rwbs = f"{us // 1000000}.{us % 1000000:06}000", "R" if read else "W"
        lines += [f"  8,0    0 {i + 1} {seconds}  77  {act}   {rwbs} {sector} + {sectors} [x]\n" for act in "QC"]
    return "".join(lines) + "CPU0 (8,0):\n Reads Queued: 1\n"


def blktrace(requests):
    out = b""
    for i, (us, sector, sectors, read) in enumerate(requests):
        for act in (1, 8):
            action = act | (1 if read else 2) << 16 | (1 << 20 if act == 1 else 1 << 23)
            out += struct.pack("<IIQQIIIIIHH", 0x65617407, i, us * 1000, sector, sectors * 512, action, 77, 8 << 20,
                               0, 0, 0)
    return out


def lru(requests, capacity):
    """(page misses, read requests that miss) of plain LRU."""
    held, missed, read_misses = collections.OrderedDict(), 0, 0
    for _, sector, sectors, read in requests:
        absent = 0
        for page in range(sector // 8, (sector + sectors - 1) // 8 + 1):
            if page in held:
                held.move_to_end(page)
            else:
                absent += 1
                held[page] = True
                if len(held) > capacity:
                    held.popitem(last=False)
        missed += absent
        read_misses += bool(absent) and read
    return missed, read_misses


requests = requests_of(1)
traces = {"block": block(requests), "file": as_file(requests), "fio": fio(requests), "vscsi": vscsi(requests),
          "blkparse": blkparse(requests), "blktrace": blktrace(requests)}
for name, text in traces.items():
    path = lab.dir / f"{name}.trace"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    lab.run("zstd", "-q", path, "-o", lab.dir / f"{name}.trace.zst")

# ---- plain LRU is what a model of its own says, and every format tells the same
reads = sum(read for _, _, _, read in requests)
touched = {page for _, sector, sectors, _ in requests for page in range(sector // 8, (sector + sectors - 1) // 8 + 1)}
accessed = sum((sector + sectors - 1) // 8 - sector // 8 + 1 for _, sector, sectors, _ in requests)
missed, read_misses = lru(requests, len(touched) // 20)
for name in traces:
    for path in (lab.dir / f"{name}.trace", lab.dir / f"{name}.trace.zst"):
        one = told(path, "--cache", "5%", "--prefetch", "none", "--replacement", "lru")
        lab.check(f"{path.name}: as a model of LRU",
                  one["format"] == name and one["requests"] == len(requests) and one["read_requests"] == reads
                  and one["unique_pages"] == len(touched) and one["cache_pages"] == len(touched) // 20
                  and abs(one["page_miss_ratio"] - missed / accessed) < 1e-9
                  and abs(one["read_request_miss_ratio"] - read_misses / reads) < 1e-9
                  and one["prefetched_bytes"] == 0, one)

# ---- ways of prefetching
path = lab.dir / "block.trace"
none = told(path, "--prefetch", "none", "--replacement", "lru")
readahead = told(path, "--prefetch", "readahead", "--replacement", "lru")
lab.check("the keys that are promised are there", all(key in readahead for key in KEYS), readahead)
lab.check("readahead takes the stream", readahead["read_request_miss_ratio"] < none["read_request_miss_ratio"] - 0.2
          and readahead["precision"] > 0.8, readahead)
lab.check("and shortens waiting", readahead["mean_latency_us"] < none["mean_latency_us"], readahead)
lab.check("wasted and used make up what was prefetched",
          readahead["wasted_bytes"] + readahead["used_bytes"] == readahead["prefetched_bytes"], readahead)
late = told(path, "--prefetch", "readahead", "--replacement", "lru", "--zone-us", "50000")
lab.check("from afar some of it is late, and counted apart", late["late_ratio"] > 0.01
          and late["hits"] + late["late"] + late["misses"] == late["read_requests"]
          and late["mean_latency_us"] > readahead["mean_latency_us"], late)
at_once = told(path, "--prefetch", "readahead", "--fetch-us", "0")
lab.check("nothing is late that takes no time", at_once["late_ratio"] == 0, at_once)
by_size = told(path, "--cache", f"{len(touched) // 20 * PAGE}", "--prefetch", "none", "--replacement", "lru")
lab.check("a cache of a size is one of that share", by_size["page_miss_ratio"] == none["page_miss_ratio"], by_size)
twice = told(path, "--prefetch", "all"), told(path, "--prefetch", "all")
for one in twice:
    one.pop("predict_ns_per_access")
    one.pop("predict_ns_per_request")
lab.check("the same again is the same", twice[0] == twice[1], twice)

# ---- the table
table = told(path)
names = [row["prefetch"] for row in table["policies"]]
lab.check("without a name there is a table of all", names[0] == "none" and "readahead" in names and names[-1] == "all"
          and table["policies"][0]["replacement"] == "lru", names)
done = replay(path)
lab.check("as text too", done.returncode == 0 and all(name in done.stdout for name in names) and done.stderr == "",
          done.stdout + done.stderr)
several = told(path, lab.dir / "file.trace", "--prefetch", "none")
lab.check("several traces are scored each by itself", [one["format"] for one in several] == ["block", "file"], several)
untimed = lab.dir / "untimed.csv"
untimed.write_text(block(requests).replace("\n0,", "\n,", 1))
lines = [line if i == 0 else "," + line.split(",", 1)[1] for i, line in enumerate(block(requests).splitlines())]
untimed.write_text("\n".join(lines) + "\n")
one = told(untimed, "--prefetch", "readahead", "--zone-us", "5000")
lab.check("without times nothing is late", one["has_times"] is False and one["late_ratio"] == 0, one)
coarse = lab.dir / "coarse.csv"
seconds = [(us // 1000000 * 1000000, *rest) for us, *rest in requests]
coarse.write_text(block(seconds))
one, true = (told(trace, "--prefetch", "readahead", "--fetch-us", "100") for trace in (coarse, path))
lab.check("requests of a clock that counts seconds are spread over each",
          one["clock_unit_us"] == 1000000 and true["clock_unit_us"] == 0 and one["late_ratio"] == 0, [one, true])
lab.check("and score as with their times", one["read_request_miss_ratio"] == true["read_request_miss_ratio"], one)

# ---- what is wrong
bad = lab.dir / "bad.csv"


def refused(what, code, says, *words, text=None):
    if text is not None:
        bad.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = replay(*words)
    lab.check(f"{what}: told in plain words", done.returncode == code and says in done.stderr and done.stdout == "",
              f"rc {done.returncode}: {done.stderr}")


refused("a file that is not there", 3, "nowhere.csv", lab.dir / "nowhere.csv")
refused("a folder", 2, "is a folder", lab.dir)
refused("a cache beyond the host's memory", 2, "choose a smaller one", path, "--cache", "900T")
refused("an empty file", 2, "is empty", bad, text="")
refused("a header alone", 2, "no reads or writes", bad, text="ts_us,vol,offset,size,op\n")
refused("no known format", 2, "of no format that is known", bad, text="hello\nworld\n")
refused("a wrong row", 2, "line 3: op is none of R, W, ?", bad,
        text="ts_us,vol,offset,size,op\n1,0,0,512,R\n1,0,0,512,X\n")
refused("a format that it is not", 2, "line 1: the header", path, "--format", "file")
refused("zstd that is cut off", 2, "cut off", bad, text=(lab.dir / "block.trace.zst").read_bytes()[:-100])
damaged = bytearray((lab.dir / "block.trace.zst").read_bytes())
damaged[len(damaged) // 2] ^= 0xff
done = replay(bad) if bad.write_bytes(damaged) else None
lab.check("zstd that is damaged: told in plain words", done.returncode == 2 and "bad.csv" in done.stderr, done.stderr)
for cache in ("0%", "101%", "-5%", "x%", "0", "4095", "many"):
    refused(f"--cache {cache}", 2, "--cache", path, f"--cache={cache}")
refused("a share of too little", 2, "no page fits", bad, text="ts_us,vol,offset,size,op\n1,0,0,512,R\n")
refused("no such prefetching", 2, "readahead", path, "--prefetch", "magic")
refused("no such replacement", 2, "--replacement", path, "--replacement", "magic")
refused("no such budget", 2, "--budget", path, "--budget", "magic")
refused("a latency below zero", 2, "--zone-us", path, "--zone-us=-1")
refused("no trace", 2, "FILE")
lab.finish()
