# What ./run and ./test share: building, steps with their duration, the sum of passed, failed and skipped.
# Sourced with the repository's root as the working directory.
export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$PWD} CCACHE_NOHASHDIR=1
jobs=${JOBS:-$(nproc)}
passed=0 failed=0 skipped=0
failures=()

pass() { passed=$((passed + ${1:-1})); }
fail() { failed=$((failed + 1)); failures+=("$1"); echo "    FAIL: $1"; }
# A missing real client or package is a failure where CI=true, else a skip with its reason.
skip() {
  if [ "${CI:-}" = true ]; then fail "$1 (required with CI=true)"; return; fi
  skipped=$((skipped + 1))
  echo "    skip: $1"
}

# step NAME COMMAND...: runs a function or program, prints its name and how long it took.
step() {
  local step=$1 begin=$SECONDS before=$failed
  shift
  echo "== $step"
  "$@"
  local verdict=ok
  [ "$failed" = "$before" ] || verdict=FAILED
  echo "== $step: $verdict, $((SECONDS - begin)) s"
}

closing_line() {
  for text in "${failures[@]}"; do echo "failed: $text"; done
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" = 0 ]
}

# add_closing_line NAME RC LOG: adds up the "N passed, N failed, N skipped" that a test printed last.
add_closing_line() {
  local name=$1 rc=$2 log=$3 line
  line=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log" | tail -1)
  if [ -z "$line" ]; then
    tail -15 "$log" | sed 's/^/    /'
    fail "$name ended without its closing line (exit status $rc), see $log"
    return
  fi
  local counts
  read -r -a counts <<<"${line//[!0-9 ]/}"
  passed=$((passed + counts[0]))
  grep -E '^(FAIL|skip)' "$log" | sed 's/^/    /'
  skipped=$((skipped + counts[2]))
  if [ "${counts[1]}" -gt 0 ]; then
    failed=$((failed + counts[1]))
    failures+=("$name: ${counts[1]} failed, see $log")
  elif [ "$rc" != 0 ]; then
    fail "$name: exit status $rc, see $log"
  elif [ "$(tail -1 "$log")" != "$line" ]; then  # what raises at its end exits with 0 all the same
    tail -5 "$log" | sed 's/^/    /'
    fail "$name printed more after its closing line, see $log"
  fi
}

# build PRESET FOLDER TARGET...: configures when needed, then builds; the log is shown only when it fails.
build() {
  local preset=$1 folder=$2 log
  shift 2
  log=$PWD/$folder/build.log
  mkdir -p "$folder"
  if ! { cmake --preset "$preset" && ninja -C "$folder" -j "$jobs" "$@"; } >"$log" 2>&1; then
    grep -E 'error|FAILED|CMake Error' -A3 "$log" | head -40
    return 1
  fi
  tail -1 "$log" | cut -c1-160
}

# Names of a build folder's targets that match a pattern.
targets() {
  ninja -C "$1" -t targets all 2>/dev/null | sed -n "s/^\([a-z_0-9]*$2\): .*/\1/p" | grep -v "^cmake_" | sort -u
}

# Names of the fuzzers, without _fuzz, of which inputs are kept.
corpora() { for file in tests/corpus/*.b64; do basename "$file" .b64; done; }
