# The long campaigns of `./test --long [PART...]`, resumed where they stopped: what is done is noted in
# build/long/state, a line each. When a part is through, its summary is appended to bench/RESULTS.md and its notes are
# cleared, so that the next call begins a new campaign. Sourced by ./test.
long_parts="kills pages power bounds seeds fuzz nbdfuzz planted accept"
state=build/long/state
kills_per_kind=${KILLS:-200}
power_cuts_per_kind=${POWER_CUTS:-25}
campaign_seeds=${CAMPAIGN_SEEDS:-20000}
fuzz_seconds=${FUZZ_SECONDS:-600}
bounds_requests=${BOUNDS_REQUESTS:-20000000}
planted_seeds=${PLANTED_SEEDS:-2000}

is_done() { grep -qxF "$*" "$state" 2>/dev/null; }
note_done() { echo "$*" >>"$state"; }

# settle PART PASSED_BEFORE FAILED_BEFORE TEXT: the summary, and the end of the campaign when nothing failed.
settle() {
  local part=$1 ok=$((passed - $2)) bad=$((failed - $3)) text=$4
  local row="| $(date -u +%Y-%m-%d) | $(git rev-parse --short HEAD) | $part | $text | $ok | $bad |"
  # Rows go before the marker that ends the table; what stands after it is others'.
  if grep -q '^<!-- end of long campaigns -->' bench/RESULTS.md; then
    ROW=$row perl -0pi -e 's/(?=^<!-- end of long campaigns -->)/$ENV{ROW}\n/m' bench/RESULTS.md
  else
    printf '\n## Long campaigns\n\n`./test --long PART` adds a row each.\n\n%s\n%s\n%s\n%s\n' \
      '| date | commit | part | what ran | passed | failed |' '|---|---|---|---|--:|--:|' "$row" \
      '<!-- end of long campaigns -->' >>bench/RESULTS.md
  fi
  [ "$bad" -gt 0 ] || sed -i "/^$part /d" "$state"
}

# campaign PART PROGRAM OPTION...: a program that is a campaign of its own and knows where it stopped; it ends with
# "summary: TEXT" and its closing line. While rounds are left ("not through yet") there is nothing to sum up.
campaign() {
  local part=$1 p=$passed f=$failed log=build/long/$1.log rc
  shift
  FORESHARD_TEST_KEEP=1 nice -n 5 "$@" >"$log" 2>&1
  rc=$?
  add_closing_line "$part" $rc "$log"
  tail -3 "$log" | cut -c1-200 | sed 's/^/    /'
  grep -q 'not through yet' "$log" || settle "$part" "$p" "$f" "$(sed -n 's/^summary: //p' "$log" | tail -1)"
}

kills() {
  build release build foreshard || { fail "build"; return; }
  campaign kills tests/long/kills.py --rounds "$kills_per_kind"
}

power() {
  build release build foreshard || { fail "build"; return; }
  campaign power tests/long/power.py --rounds "$power_cuts_per_kind"
}

pages() {
  build release build foreshard || { fail "build"; return; }
  campaign pages tests/long/pages.py
}

long_seeds() {
  build release build simulate || { fail "build"; return; }
  campaign seeds tests/long/seeds.py --seeds "$campaign_seeds"
}

# keep_inputs PROGRAM FOLDER FILE: the fewest of the folder's inputs that reach what all of them do.
keep_inputs() {
  local fewest=$2.fewest
  rm -rf "$fewest"
  mkdir "$fewest"
  nice -n 5 build-fuzz/"$1" -set_cover_merge=1 -max_len=4096 "$fewest" "$2" >build/long/"$1".merge.log 2>&1 &&
    [ -n "$(ls "$fewest")" ] && scripts/corpus.py pack "$fewest" "$3" >/dev/null
}

# fuzz_one PROGRAM: begins with what is kept in tests/corpus and leaves there what is worth keeping. Five minutes for
# one input, because libFuzzer counts the time in which a virtual machine stood still.
fuzz_one() {
  local program=$1 name=${1%_fuzz} log=build/long/$1.log
  local kept=tests/corpus/$name.b64 inputs=build/long/corpus/$name
  mkdir -p "$inputs" tests/corpus
  [ ! -e "$kept" ] || scripts/corpus.py unpack "$kept" "$inputs" >/dev/null
  nice -n 5 build-fuzz/"$program" -max_total_time="$fuzz_seconds" -max_len=4096 -timeout=300 -rss_limit_mb=2048 \
    -artifact_prefix=build/long/"$program". "$inputs" >"$log" 2>&1 || return 1
  keep_inputs "$program" "$inputs" "$kept" || return 1
  note_done "fuzz $program"
  echo "    $program: $(tried "$program") inputs tried, $(grep -c . "$kept") kept"
}
# Of a fuzzer that did not come to its end there is no count.
tried() { sed -n 's/^Done \([0-9]*\) runs.*/\1/p' build/long/"$1".log | grep . || echo 0; }

# As many fuzzers at a time as there are CPUs. The kept inputs must reach nearly all lines of the decoders.
fuzz() {
  local p=$passed f=$failed programs program waiting=() all=0 count
  cmake --preset fuzz >build/long/fuzz.log 2>&1
  programs=$(targets build-fuzz _fuzz)
  # shellcheck disable=SC2086
  build fuzz build-fuzz $programs || { fail "build of the fuzzers, see build-fuzz/build.log"; return; }
  settle_first() {
    if wait "${waiting[0]#* }"; then pass; else
      tail -5 build/long/"${waiting[0]% *}".log
      fail "${waiting[0]% *}, see build/long/${waiting[0]% *}.log"
    fi
    waiting=("${waiting[@]:1}")
  }
  for program in $programs; do
    is_done "fuzz $program" && { pass; continue; }
    [ "${#waiting[@]}" -lt "$(nproc)" ] || settle_first
    fuzz_one "$program" &
    waiting+=("$program $!")
  done
  while [ "${#waiting[@]}" -gt 0 ]; do settle_first; done
  if scripts/fuzz_coverage.sh; then pass; else fail "the kept inputs do not reach 90 % of a decoder's lines"; fi
  for program in $programs; do
    count=$(tried "$program")
    all=$((all + ${count:-0}))
  done
  settle fuzz "$p" "$f" "$(wc -w <<<"$programs") fuzzers, $fuzz_seconds s each, $all inputs"
}

nbdfuzz() {
  build asan build-asan foreshard || { fail "build with sanitizers"; return; }
  campaign nbdfuzz tests/long/nbdfuzz.py --seconds "$fuzz_seconds"
}

bounds() {
  build release build foreshard || { fail "build"; return; }
  campaign bounds tests/long/bounds.py --requests "$bounds_requests"
}

planted() {
  build planted build-planted simulate || { fail "build with planted bugs, see build-planted/build.log"; return; }
  campaign planted tests/long/planted.py --seeds "$planted_seeds"
}

accept() {
  build release build || { fail "build"; return; }
  local p=$passed f=$failed log
  for suite in qemu-io nbdcopy fio-verify nbdtorture nbd-loop-fs; do
    is_done "accept $suite" && { pass; continue; }
    log=build/long/accept.$suite.log
    timeout 1800 tests/system/test_accept.py "$suite" --seconds 120 >"$log" 2>&1
    local rc=$? before=$failed
    add_closing_line "accept $suite" $rc "$log"
    [ "$failed" = "$before" ] && note_done "accept $suite"
    echo "    $suite: $(tail -1 "$log")"
  done
  settle accept "$p" "$f" "acceptance suites that take a URI, nbdtorture 120 s a run"
}

long() {
  for part in "$@"; do
    case " $long_parts " in *" $part "*) ;; *) usage >&2; exit 2 ;; esac
  done
  mkdir -p build/long
  step packages packages
  # shellcheck disable=SC2086
  for part in ${*:-$long_parts}; do
    case $part in seeds) step "long seeds" long_seeds ;; *) step "long $part" "$part" ;; esac
  done
}
