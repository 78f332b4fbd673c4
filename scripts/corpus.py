#!/usr/bin/python3
"""Kept inputs of the fuzzers, one file a fuzzer instead of thousands: tests/corpus/NAME.b64 has an input a line, in
base64, sorted, so that a change of a few inputs is a change of a few lines.

  corpus.py unpack FILE FOLDER   a file an input, named by its hash as libFuzzer does; what else is there stays
  corpus.py pack FOLDER FILE     the inputs of a folder, in place of what the file had
"""

import base64
import hashlib
import pathlib
import sys


def unpack(file, folder):
    folder.mkdir(parents=True, exist_ok=True)
    lines = file.read_text(encoding="ascii").split()
    for line in lines:
        data = base64.b64decode(line, validate=True)
        (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)
    return len(lines)


def pack(folder, file):
    lines = {base64.b64encode(path.read_bytes()).decode() for path in folder.iterdir()} - {""}
    file.write_text("".join(line + "\n" for line in sorted(lines)), encoding="ascii")
    return len(lines)


def main():
    commands = {"unpack": unpack, "pack": pack}
    if len(sys.argv) != 4 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    print(commands[sys.argv[1]](pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])), "inputs")


if __name__ == "__main__":
    main()
