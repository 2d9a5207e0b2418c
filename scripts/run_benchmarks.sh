#!/bin/bash
# Runs what is in tests/bench from a build folder: start-up times first, then every *_bench.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
python3 tests/bench/start_up.py "$build/vitsim"
for bench in "$build"/*_bench; do
  echo
  echo "=== ${bench##*/}"
  "$bench" --benchmark_min_time=0.2
done
