#!/bin/bash
# Replays the kept inputs in the coverage build and prints which share of each decoder's lines they reach, in all and
# file by file. Exit status 1 when one is under 90 %.
# Usage: fuzz_coverage.sh [NAME...]   (default: all of which inputs are kept)
cd "$(dirname "$(readlink -f "$0")")/.." || exit 2
. scripts/common.sh
wanted=90
folder=build-coverage

# What each fuzzer is there for.
decoders() {
  case $1 in
    nbd) echo src/front/nbd/{negotiation,request,session,reply_encoding}.cc ;;
    message) echo src/rpc/{message,receive_buffer,channel,service}.cc ;;
    records) echo src/meta/{records,format,wire,limits}.cc ;;
    format) echo src/store/format.cc ;;
    request) echo src/server/{format,replica_server,sessions}.cc ;;
    access_trace) echo src/policy/trace/access_trace.cc ;;
    model) echo src/policy/predict/neural/model_format.cc ;;
  esac
}

names=${*:-$(corpora)}
# shellcheck disable=SC2046,SC2086
build coverage "$folder" $(printf '%s_replay ' $names) || exit 2
bad=0
for name in $names; do
  profile=$folder/$name.profraw inputs=$folder/corpus/$name
  rm -rf "$inputs"
  scripts/corpus.py unpack "tests/corpus/$name.b64" "$inputs" >/dev/null || exit 2
  if ! LLVM_PROFILE_FILE=$profile "$folder/${name}_replay" "$inputs" >"$folder/$name.log" 2>&1; then
    echo "FAIL $name: its inputs do not run, see $folder/$name.log"
    bad=1
    continue
  fi
  llvm-profdata-19 merge -o "$folder/$name.profdata" "$profile" || exit 2
  # shellcheck disable=SC2046
  llvm-cov-19 export -summary-only -instr-profile="$folder/$name.profdata" "$folder/${name}_replay" \
    $(decoders "$name") 2>/dev/null >"$folder/$name.json" || exit 2
  python3 - "$name" "$folder/$name.json" $wanted <<'END' || bad=1
import json, sys
name, path, wanted = sys.argv[1], sys.argv[2], float(sys.argv[3])
data = json.load(open(path))["data"][0]
share = min(data["totals"]["lines"]["percent"], *(f["summary"]["lines"]["percent"] for f in data["files"]))
files = ", ".join("%s %.0f" % (f["filename"].split("/src/")[-1], f["summary"]["lines"]["percent"])
                  for f in data["files"])
print("%s %-13s %5.1f %% of lines (%s)" %
      ("ok  " if share >= wanted else "FAIL", name, data["totals"]["lines"]["percent"], files))
sys.exit(share < wanted)
END
done
exit $bad
