#!/bin/sh
# Runs trainer_vs_python.py; its options follow those of this script:
#   trainer_vs_python.sh TRAINER [options]
# Python's torch goes into a virtual environment of its own, made once (several GB).
set -eu
trainer=$1
shift
venv=${XDG_CACHE_HOME:-$HOME/.cache}/vitsim/python-torch-2.11.0
if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c "import torch, torchvision" 2> /dev/null; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --no-cache-dir torch==2.11.0 torchvision==0.26.0
fi
exec python3 "$(dirname "$0")/trainer_vs_python.py" --trainer "$trainer" --python "$venv/bin/python" "$@"
