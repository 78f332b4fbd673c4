#!/bin/bash
# Proves that tidy finds each thing it is there to find: one small bad tree a rule, and a clean one that passes.
# Usage: tidy_test.sh TIDY
tidy=$1
top=$(mktemp -d) || exit 2
trap 'rm -rf "$top"' EXIT
passed=0 failed=0

# expect NAME PATH TEXT WANTED: a tree of the one file PATH must be refused with a line that holds WANTED.
# An empty WANTED: the tree must pass.
expect() {
  local name=$1 path=$2 text=$3 wanted=$4 root=$top/$1 out rc
  mkdir -p "$root/$(dirname "$path")"
  printf '%b' "$text" >"$root/$path"
  out=$("$tidy" "$root")
  rc=$?
  if [ -z "$wanted" ]; then
    [ $rc = 0 ] && { passed=$((passed + 1)); return; }
  elif [ $rc = 1 ] && grep -qF -- "$wanted" <<<"$out"; then
    passed=$((passed + 1))
    return
  fi
  failed=$((failed + 1))
  printf 'FAIL %s: wanted "%s", got rc %s:\n%s\n' "$name" "$wanted" "$rc" "$out"
}

lines() { for _ in $(seq "$1"); do printf '%s\\n' "$2"; done; }
unfinished=TO; unfinished+=DO

expect clean src/store/a.cc '#include "meta/b.h"\n#include <vector>\nint f(int x = {}) {\n  return x;\n}\n' ''
expect upward src/rpc/a.h '#include "meta/b.h"\n' 'rpc may not include meta'
expect policy src/policy/place/a.h '#include "runtime/io.h"\n' 'policy is pure'
expect sim src/sim/a.h '#include "cli/main.h"\n' 'not on cli'
expect relative src/rpc/a.h '#include "b.h"\n' 'by its path from src'
expect folder src/util/a.h 'int x;\n' 'no layer'
expect uring src/store/a.cc '#include <liburing.h>\n' 'outside its fence'
expect rocks src/index/map_index.cc '#include <rocksdb/db.h>\n' 'outside its fence'
expect rocks_inside src/index/rocks_index.cc '#include <rocksdb/db.h>\n' ''
expect nbd src/front/nbd/a.cc '#include <libnbd.h>\n' 'outside its fence'
expect gtest src/front/a.cc '#include <gtest/gtest.h>\n' 'outside of tests'
expect clock src/volume/a.cc 'auto t = std::chrono::steady_clock::now();\n' 'steady_clock'
expect clock_inside src/runtime/a.cc 'auto t = std::chrono::steady_clock::now();\n' ''
expect clock_reason src/volume/a.cc 'auto t = steady_clock::now();  // tidy: measured, decides nothing\n' ''
expect shuffle src/volume/a.cc 'void f() { std::shuffle(a, b, c); }\n' 'shuffle'
expect rand src/volume/a.cc 'int f() { return rand(); }\n' 'rand'
expect time src/volume/a.cc 'long f() { return time(nullptr); }\n' 'time(nullptr)'
expect comment src/volume/a.cc '// Not rand() nor steady_clock.\nconst char* s = "steady_clock";\n' ''
expect sleep src/volume/a_test.cc 'void f() { usleep(3); }\n' 'a test does not sleep'
expect sleep_real src/volume/a_test.cc \
  '#include "runtime/real_runtime.h"\nvoid f() { executor.sleep_for(3); }\n' 'does not sleep'
expect sleep_virtual src/volume/a_test.cc 'void f() { executor.sleep_for(3); }\n' ''
expect thread src/volume/a.cc 'std::thread t;\n' 'std::thread'
expect using src/volume/a.cc 'using namespace std;\n' 'using namespace std'
expect unfinished src/volume/a.cc "// $unfinished: more\n" 'unfinished'
expect trailing docs/a.md 'text \n' 'blank at the end'
expect tab scripts/a.sh 'if\ttrue\n' 'tab'
expect columns src/volume/a.cc "// $(printf 'x%.0s' {1..118})\n" 'columns'
expect file src/volume/a.cc "$(lines 801 '// a line')" 'file of 801 lines'
expect function src/volume/a.cc \
  "void C::f(int x) {\n$(lines 120 '  g();')}\n" 'C::f: function of 122 lines'
expect constructor src/volume/a.cc \
  "C::C(int x)\n    : a_{x}, b_(x) {\n$(lines 120 '  g();')}\n" 'C::C: function of 123 lines'
expect inside src/volume/a.h \
  "class C {\n public:\n  int f() const {\n$(lines 120 '    g();')  }\n};\n" 'f: function of 122'
expect lambda src/volume/a.cc \
  "void f() {\n  auto l = [] {\n$(lines 120 '  g();')  };\n}\n" 'f: function of 124'
expect table src/volume/a.cc "const int kTable[] = {\n$(lines 120 '  1,')};\n" ''
expect two src/volume/a.cc \
  "void f() {\n$(lines 60 '  g();')}\nvoid g(A a = {}) {\n$(lines 60 '  g();')}\n" ''

mkdir "$top/empty"
"$tidy" "$top/empty" >/dev/null
case $? in 0) failed=$((failed + 1)); echo "FAIL: an empty tree passes" ;; *) passed=$((passed + 1)) ;; esac

echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
