#!/bin/sh
# Runs every fuzz target for some seconds from its corpus: tests/fuzz/run.sh SECONDS [NAME...]
# Builds them first (clang 14). New inputs are kept in the build folder; a crash stops the script
# and leaves its input in build/sanitize.
set -eu
if [ $# -lt 1 ]; then
  echo "usage: $0 SECONDS [NAME...]" >&2
  exit 2
fi
seconds=$1
shift
cd "$(dirname "$0")/../.."
cmake --preset sanitize -DVITSIM_FUZZ_SECONDS="$seconds" >/dev/null
cmake --build build/sanitize --target vitsim_fuzz_targets
filter=$(printf '|^fuzz_%s$' "$@")
[ $# -gt 0 ] || filter='|^fuzz_'
ctest --test-dir build/sanitize --output-on-failure -j "${JOBS:-$(nproc)}" -L fuzz -R "${filter#|}"
