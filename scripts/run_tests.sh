#!/bin/bash
# What `make test`, `make check` and CI run. A failed part does not stop the others; the summary comes
# last.
#
#   run_tests.sh test          build everything and run every test, but for predictions against real runs
#   run_tests.sh check         format, sanitizers, fuzz targets, clang-tidy; predictions against real runs
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

# What CTest says of its tests, and of those that failed or were skipped.
run_ctest() {
  local log_file=$1
  shift
  ctest --preset test --no-tests=error "$@" > "$log/$log_file" 2>&1 || {
    local status=$?
    grep -v -e ' Passed ' -e '^ *Start ' "$log/$log_file"
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
  build sanitize || return
  ctest --preset sanitize -j "$jobs" -L '^(unit|property|cli)$' --no-tests=error > "$log/sanitize.log" 2>&1 || {
    local status=$?
    grep -v -e ' Passed ' -e '^ *Start ' "$log/sanitize.log"
    return $status
  }
  grep 'tests passed' "$log/sanitize.log"
}

# Once, however often it is asked for; fails where it failed.
build_everything() {
  if [[ " ${passed[*]:-} ${failed[*]:-} " != *" build "* ]]; then
    part build build test
  fi
  [[ " ${passed[*]:-} " == *" build "* ]]
}

run_all_tests() {
  if build_everything; then
    part tests run_ctest ctest.log -j "$jobs" -LE '^predictions$'
  fi
}

run_all_checks() {
  part format scripts/format.sh --check
  part sanitizers run_sanitizers
  part fuzz run_fuzz
  part clang-tidy scripts/tidy.sh
  # Predictions are held against this machine: nothing else runs beside them.
  if build_everything; then
    part predictions run_ctest predictions.log -L '^predictions$'
  fi
}

if [ $# = 0 ]; then
  echo "usage: $0 [test] [check]" >&2
  exit 2
fi
scripts/install_dependencies.sh test
mkdir -p "$log"
rm -f "$log/ctest.log" "$log/predictions.log"
for group in "$@"; do
  case $group in
    test) run_all_tests ;;
    check) run_all_checks ;;
    *) echo "usage: $0 [test] [check]" >&2; exit 2 ;;
  esac
done

echo
for summary in predictions ctest; do
  if [ -e "$log/$summary.log" ]; then
    # Skipped tests are listed with the summary: a skip is not a pass.
    sed -n '/tests passed/,$p' "$log/$summary.log"
  fi
done
if [ ${#failed[@]} != 0 ]; then
  echo "FAILED: ${failed[*]} (logs in $log), after $SECONDS s"
  exit 1
fi
echo "All passed: ${passed[*]}, in $SECONDS s"
