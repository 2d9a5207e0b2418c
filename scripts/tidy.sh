#!/bin/sh
# Runs clang-tidy on every source file of the libraries, the CLI and the trainer.
#
# It reads them joined, as a unity build does, so that headers are read once for many.
set -eu
cd "$(dirname "$0")/.."
build=build/tidy
cmake --preset tidy > /dev/null
cmake --build "$build" --target vitsim_commit > /dev/null
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Sources that are compiled by themselves, and the joined ones. The largest first.
sed -n 's/^ *"file": "\(.*\)",\{0,1\}$/\1/p' "$build/compile_commands.json" | grep -v "/tests/" | grep -E "[.](cpp|cxx)$" |
  xargs wc -l | sort -rn | sed -n 's/^ *[0-9]* \(\/.*\)$/\1/p' > "$work/units"
export work build
xargs -a "$work/units" -n 1 -P "${JOBS:-$(nproc)}" sh -c '
  if ! clang-tidy-14 --quiet -p "$build" --extra-arg=-Wno-unknown-warning-option \
       --checks=-bugprone-suspicious-include "$1" > "$work/$$.log" 2>&1; then
    echo "$1" >> "$work/failed"
    cat "$work/$$.log"
  fi
' tidy

touch "$work/failed"
files=$(git ls-files 'models/*.cpp' 'calibrate/*.cpp' 'sim/*.cpp' 'trainer/*.cpp' | wc -l)
echo "clang-tidy: $files files in $(wc -l < "$work/units") units, $(wc -l < "$work/failed") with findings"
test ! -s "$work/failed"
