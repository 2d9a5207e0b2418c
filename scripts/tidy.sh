#!/bin/sh
# Runs clang-tidy, most recently changed files first.
#
#   tidy.sh BUILD_FOLDER [SECONDS]    stops starting files after SECONDS; without it, checks all
#
# Files that are not in the build's compile_commands.json are left out, and so is what includes
# LibTorch: g++'s precompiled header cannot be read by clang.
set -eu
cd "$(dirname "$0")/.."
build=$1
seconds=${2:-0}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Files changed but not committed first, then from the youngest commit to the oldest.
{
  git status --porcelain --no-renames | cut -c 4-
  git log --no-renames --format= --name-only
} | grep '\.cpp$' | grep -E '^(models|calibrate|sim)/' | awk '!seen[$0]++' | while read -r file; do
  if [ -e "$file" ] && grep -qF "\"$PWD/$file\"" "$build/compile_commands.json"; then
    echo "$file"
  fi
done > "$work/files"

deadline=0
if [ "$seconds" -gt 0 ]; then
  deadline=$(($(date +%s) + seconds))
fi
export build work deadline
# g++'s flags are read by clang: it need not know all of them.
xargs -a "$work/files" -n 1 -P "${JOBS:-$(nproc)}" sh -c '
  if [ "$deadline" -gt 0 ] && [ "$(date +%s)" -ge "$deadline" ]; then
    exit 0
  fi
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
