#!/bin/sh
# Formats every tracked C++ file; with --check, fails where one is not formatted.
set -eu
cd "$(dirname "$0")/.."

how=-i
if [ "${1:-}" = --check ]; then
  how="--dry-run --Werror"
fi
git ls-files -z --cached --others --exclude-standard '*.cpp' '*.h' '*.cu' |
  xargs -0 -r -n 20 -P "$(nproc)" clang-format-14 $how
