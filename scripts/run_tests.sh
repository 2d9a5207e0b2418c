#!/bin/bash
# What `make test`, `make check` and CI run. A failed part does not stop the others; the summary comes
# last.
#
#   run_tests.sh test          build everything and run every test
#   run_tests.sh check         format, fuzz targets, sanitizers, clang-tidy
#   run_tests.sh test check    both
#
# VITSIM_FUZZ_SECONDS bounds each fuzz target, which could go on for ever.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=${JOBS:-$(nproc)}
log=build/test-logs
failed=()
passed=()

# Runs a part, shows its time, remembers its failure.
part() {
  local name=$1 begin=$SECONDS status=0
  shift
  echo "=== $name"
  "$@" || status=$?
  echo "=== $name: $([ $status = 0 ] && echo passed || echo FAILED) in $((SECONDS - begin)) s"
  if [ $status = 0 ]; then
    passed+=("$name")
  else
    failed+=("$name")
  fi
}

# A build says nothing but its last line and what goes wrong.
build() {
  local preset=$1
  shift
  cmake --preset "$preset" > "$log/$preset-configure.log" 2>&1 ||
    { cat "$log/$preset-configure.log"; return 1; }
  cmake --build "build/$preset" -j "$jobs" "$@" -- -k 0 > "$log/$preset-build.log" 2>&1 ||
    { grep -v '^\[' "$log/$preset-build.log"; return 1; }
  tail -n 1 "$log/$preset-build.log"
}

run_ctest() {
  ctest --preset test -j "$jobs" --no-tests=error > "$log/ctest.log" 2>&1 || {
    local status=$?
    grep -v -e ' Passed ' -e '^ *Start ' "$log/ctest.log"
    return $status
  }
}

run_fuzz() {
  tests/fuzz/run.sh "${VITSIM_FUZZ_SECONDS:-5}" > "$log/fuzz.log" 2>&1 || {
    local status=$?
    tail -n 60 "$log/fuzz.log"
    return $status
  }
  grep 'tests passed' "$log/fuzz.log"
}

run_sanitizers() {
  build asan --target vitsim_unit_tests vitsim_property_tests vitsim_cli_tests || return
  ctest --test-dir build/asan -j "$jobs" -L '^(unit|property|cli)$' --no-tests=error \
    --output-on-failure > "$log/asan.log" 2>&1 || {
    local status=$?
    grep -v -e ' Passed ' -e '^ *Start ' "$log/asan.log"
    return $status
  }
  grep 'tests passed' "$log/asan.log"
}

# clang-tidy needs the compilation's commands and the headers that the build writes.
run_tidy() {
  build test --target vitsim_commit && scripts/tidy.sh build/test
}

run_all_tests() {
  part build build test
  if [[ " ${failed[*]} " != *" build "* ]]; then
    part tests run_ctest
  fi
}

run_all_checks() {
  part format scripts/format.sh --check
  part fuzz run_fuzz
  part sanitizers run_sanitizers
  part clang-tidy run_tidy
}

if [ $# = 0 ]; then
  echo "usage: $0 [test] [check]" >&2
  exit 2
fi
scripts/install_dependencies.sh test
mkdir -p "$log"
rm -f "$log/ctest.log"
for group in "$@"; do
  case $group in
    test) run_all_tests ;;
    check) run_all_checks ;;
    *) echo "usage: $0 [test] [check]" >&2; exit 2 ;;
  esac
done

echo
if [ -e "$log/ctest.log" ]; then
  # Skipped tests are listed with the summary: a skip is not a pass.
  sed -n '/tests passed/,$p' "$log/ctest.log"
fi
if [ ${#failed[@]} != 0 ]; then
  echo "FAILED: ${failed[*]} (logs in $log), after $SECONDS s"
  exit 1
fi
echo "All passed: ${passed[*]}, in $SECONDS s"
