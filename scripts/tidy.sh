#!/bin/sh
# Runs clang-tidy on every source file of the libraries and the CLI.
#
#   tidy.sh BUILD_FOLDER
#
# Files that are not in the build's compile_commands.json are left out, and so is what includes
# LibTorch: g++'s precompiled header cannot be read by clang.
set -eu
cd "$(dirname "$0")/.."
build=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

git ls-files --cached --others --exclude-standard 'models/*.cpp' 'calibrate/*.cpp' 'sim/*.cpp' |
  while read -r file; do
    if [ -e "$file" ] && grep -qF "\"$PWD/$file\"" "$build/compile_commands.json"; then
      echo "$file"
    fi
  done > "$work/files"

export build work
# g++'s flags are read by clang: it need not know all of them.
xargs -a "$work/files" -n 1 -P "${JOBS:-$(nproc)}" sh -c '
  echo "$1" >> "$work/checked"
  if ! clang-tidy-14 --quiet -p "$build" --extra-arg=-Wno-unknown-warning-option "$1" \
       > "$work/$$.log" 2>&1; then
    echo "$1" >> "$work/failed"
    cat "$work/$$.log"
  fi
' tidy

touch "$work/checked" "$work/failed"
echo "clang-tidy: $(wc -l < "$work/checked") of $(wc -l < "$work/files") files checked," \
     "$(wc -l < "$work/failed") with findings"
test ! -s "$work/failed"
