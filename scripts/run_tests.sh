#!/bin/bash
# What `make test` and CI run: build everything, every test, then the checks of the code itself.
# A failed part does not stop the others; the summary comes last.
#
# VITSIM_FUZZ_SECONDS bounds each fuzz target, which could go on for ever.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=${JOBS:-$(nproc)}
log=build/test-logs
failed=()

# Runs a part, shows its time, remembers its failure.
part() {
  local name=$1 begin=$SECONDS status=0
  shift
  echo "=== $name"
  "$@" || status=$?
  echo "=== $name: $([ $status = 0 ] && echo passed || echo FAILED) in $((SECONDS - begin)) s"
  if [ $status != 0 ]; then
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

scripts/install_dependencies.sh test
mkdir -p "$log"
part format scripts/format.sh --check
part build build test
if [[ " ${failed[*]} " == *" build "* ]]; then
  exit 1
fi
part tests run_ctest
part fuzz run_fuzz
part sanitizers run_sanitizers
part clang-tidy scripts/tidy.sh build/test

echo
if [ -e "$log/ctest.log" ]; then
  # Skipped tests are listed with the summary: a skip is not a pass.
  sed -n '/tests passed/,$p' "$log/ctest.log"
fi
if [ ${#failed[@]} != 0 ]; then
  echo "FAILED: ${failed[*]} (logs in $log), after $SECONDS s"
  exit 1
fi
echo "All passed: format, build, tests, fuzz, sanitizers, clang-tidy, in $SECONDS s"
