"""Models as files and as the region's metadata has them, made by hand from what is written about them
(src/policy/predict/neural/model_format.h, src/meta/records.proto), so that they can be hostile in every way; and the
metadata of a running region, read and changed behind its back."""

import os
import struct

from lab import ROOT

META_EDIT = os.environ.get("META_EDIT", str(ROOT / "build" / "meta_edit"))
HEADER = ("magic", "format_version", "checksum", "file_bytes", "weights", "card_bytes", "kind", "symbols", "vocabulary",
          "regions", "pages", "workloads", "labels", "width", "hidden", "layers", "attention_heads", "context",
          "history_entries", "near_pages")
LAYOUT = "<QIIQQ15I36x"
LENGTH_CLASSES, PLACES = 16, 4


def crc_table():
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82f63b78 if byte & 1 else 0)
        yield byte


TABLE = list(crc_table())


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ TABLE[crc & 0xff ^ byte]
    return crc ^ 0xffffffff


# ---- files

def weights_of(vocabulary, width, hidden, buckets=2):
    """How many an LSTM has: rows for features, four gates, three heads."""
    rows = 2 * vocabulary + 3 + 4 * buckets + 2 + LENGTH_CLASSES + 8 + 8 + 12 + PLACES
    heads = 3 + vocabulary + LENGTH_CLASSES + PLACES
    return rows * width + 4 * hidden * (width + hidden + 1) + (hidden + 1) * heads


def model_file(vocabulary=(-3, 1, 5), width=4, hidden=4, weights=None, card=b'{"data": []}\n', said=None):
    """A model's bytes, with a checksum that fits. weights: packed floats, or one that is all of them. said: what its
    header says even if it is not so."""
    count = weights_of(len(vocabulary), width, hidden)
    if weights is None or isinstance(weights, float):
        weights = struct.pack("<f", weights or 0.0) * count
    rest = struct.pack(f"<{len(vocabulary)}q", *vocabulary) + weights + card
    fields = {"magic": 0x316c65646f6d7366, "format_version": 1, "checksum": 0,
              "file_bytes": struct.calcsize(LAYOUT) + len(rest), "weights": count, "card_bytes": len(card), "kind": 1,
              "symbols": 1, "vocabulary": len(vocabulary), "regions": 2, "pages": 2, "workloads": 2, "labels": 2,
              "width": width, "hidden": hidden, "layers": 1, "attention_heads": 1, "context": 1,
              "history_entries": 256, "near_pages": 0, **(said or {})}
    fields["checksum"] = crc32c(struct.pack(LAYOUT, *(fields[name] for name in HEADER)) + rest)
    return struct.pack(LAYOUT, *(fields[name] for name in HEADER)) + rest


# ---- records

def varint(value):
    out = bytearray()
    while value > 0x7f:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def record(number, file, **said):
    """Model; the file's checksum is a fixed32."""
    said = {"number": number, "kind": b"lstm", "symbols": b"deltas", "file_bytes": len(file), "crc32c": None, **said}
    checksum = crc32c(file) if said["crc32c"] is None else said["crc32c"]
    return (field(1, said["number"]) + field(2, said["kind"]) + field(3, said["symbols"]) +
            field(4, said["file_bytes"]) + varint(5 << 3 | 5) + struct.pack("<I", checksum) + field(8, b"by hand"))


def record_key(number):
    return f"/models/{number:016x}"


def part_key(number, part):
    return f"/model-parts/{number:016x}/{part:016x}"


def part(data):
    return field(1, data)


# ---- a region that runs

class Metadata:
    def __init__(self, region):
        self.region = region
        self.path = region.lab.dir / "value"

    def _edit(self, *words):
        done = self.region.lab.run(META_EDIT, self.region.address, *words)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(done.args)}: {done.stderr}")

    def get(self, key):
        self._edit("get", key, self.path)
        return self.path.read_bytes()

    def put(self, key, value):
        self.path.write_bytes(value)
        self._edit("put", key, self.path)

    def erase(self, key):
        self._edit("erase", key)
