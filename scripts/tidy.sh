#!/bin/sh
# Runs clang-tidy on every source file of the libraries and the CLI.
#
#   tidy.sh BUILD_FOLDER
#
# Files that are not in the build's compile_commands.json are left out, and so is what includes
# LibTorch.
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

# g++'s flags are read by clang, which need not know all of them and cannot read g++'s precompiled
# headers.
sed -E 's/-Winvalid-pch//; s/-include [^ ]*cmake_pch.hxx//' "$build/compile_commands.json" \
  > "$work/compile_commands.json"
export work
xargs -a "$work/files" -n 1 -P "${JOBS:-$(nproc)}" sh -c '
  echo "$1" >> "$work/checked"
  if ! clang-tidy-14 --quiet -p "$work" --extra-arg=-Wno-unknown-warning-option "$1" \
       > "$work/$$.log" 2>&1; then
    echo "$1" >> "$work/failed"
    cat "$work/$$.log"
  fi
' tidy

touch "$work/checked" "$work/failed"
echo "clang-tidy: $(wc -l < "$work/checked") of $(wc -l < "$work/files") files checked," \
     "$(wc -l < "$work/failed") with findings"
test ! -s "$work/failed"
