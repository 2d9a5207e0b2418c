#!/bin/sh
# Installs the Debian packages that are missing, through sudo where the user is not root.
#
#   install_dependencies.sh cli       what the CLI needs
#   install_dependencies.sh trainer   that and the trainer
#   install_dependencies.sh test      that, the tests and the checks
set -eu

cli="g++ cmake make ninja-build libfmt-dev nlohmann-json3-dev libeigen3-dev libcli11-dev libtbb-dev zlib1g-dev libjs-chart.js"
trainer="python3 python3-pip python3-venv ca-certificates
  openmpi-bin libopenmpi-dev libjpeg62-turbo-dev libpng-dev libssl-dev"
test="git libgtest-dev libgmock-dev libbenchmark-dev
  clang-14 libclang-rt-14-dev clang-format-14 clang-tidy-14 binutils iproute2 dpkg-dev chromium
  groff-base zsh fish"

case ${1:-} in
  cli) packages=$cli ;;
  trainer) packages="$cli $trainer" ;;
  test) packages="$cli $trainer $test" ;;
  *) echo "usage: $0 cli|trainer|test" >&2; exit 2 ;;
esac

if ! command -v apt-get > /dev/null; then
  echo "No apt-get here; vitsim needs what Debian calls:" $packages >&2
  exit 0
fi

missing=
for package in $packages; do
  if ! dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null | grep -qx installed; then
    missing="$missing $package"
  fi
done
if [ -z "$missing" ]; then
  exit 0
fi

sudo=
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo > /dev/null; then
    echo "Neither root nor sudo: ask for these packages:$missing" >&2
    exit 1
  fi
  sudo=sudo
fi
echo "Installing:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { $sudo apt-get update -qq &&
       $sudo env DEBIAN_FRONTEND=noninteractive \
         apt-get install -qq -y --no-install-recommends $missing; } > "$log" 2>&1; then
  cat "$log" >&2
  echo "Could not install:$missing" >&2
  exit 1
fi
