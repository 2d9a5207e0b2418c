#!/bin/sh
# Fetches LibTorch from the wheels that PyPI ships, once per machine and user.
#
#   fetch_libtorch.sh cpu|cuda DIRECTORY
#
# DIRECTORY appears whole or not at all: everything is unpacked beside it and renamed. pip verifies
# the checksums below. `cpu` keeps what a machine without CUDA needs (the wheel is the CUDA 13
# build; libtorch_cpu needs cudart and cupti to load, nothing more); `cuda` keeps the CUDA libraries
# and adds the three that a CUDA toolkit does not bring.
set -eu

kind=$1
directory=$2

parent=$(dirname "$directory")
mkdir -p "$parent"

# One fetch at a time; those that waited find the work done. The lock ends with the process.
exec 9> "$directory.lock"
flock 9
if [ -e "$directory/torch/lib/libtorch_cpu.so" ]; then
  exit 0
fi

work=$(mktemp -d "$parent/.fetch-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

cat > "$work/requirements.txt" <<'END'
torch==2.11.0 --hash=sha256:7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a
nvidia-cuda-runtime==13.0.96 --hash=sha256:7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
nvidia-cuda-cupti==13.0.85 --hash=sha256:4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8
END
if [ "$kind" = cuda ]; then
  cat >> "$work/requirements.txt" <<'END'
nvidia-cusparselt-cu13==0.8.0 --hash=sha256:25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd
nvidia-nvshmem-cu13==3.4.5 --hash=sha256:290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80
nvidia-cufile==1.15.1.6 --hash=sha256:08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44
END
fi

# Any pip will do; without one, a virtual environment brings its own.
python=${PYTHON:-python3}
if ! "$python" -m pip --version > /dev/null 2>&1; then
  if ! "$python" -m venv "$work/venv" > /dev/null 2>&1; then
    echo "fetch_libtorch: needs pip: install the packages python3-pip or python3-venv," \
         "or configure with -DLIBTORCH=DIR" >&2
    exit 1
  fi
  python=$work/venv/bin/python
fi

# The platform is spelt out, so that a pip of any Python chooses the same files.
"$python" -m pip --disable-pip-version-check install --quiet \
  --target "$work/unpacked" --no-deps --no-compile --no-cache-dir --only-binary=:all: \
  --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
  --platform manylinux_2_25_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
  --python-version 3.11 --implementation cp --abi cp311 --abi none \
  --require-hashes --requirement "$work/requirements.txt"

# Python's own part goes; headers, CMake files and libraries stay.
kept=$work/kept
mkdir -p "$kept/torch/lib"
mv "$work/unpacked/torch/include" "$work/unpacked/torch/share" "$kept/torch/"
cd "$work/unpacked/torch/lib"
if [ "$kind" = cuda ]; then
  rm -rf libtorch_python.so libshm*
  mv ./* "$kept/torch/lib/"
  mv "$work/unpacked/nvidia" "$kept/nvidia"
else
  mv libtorch_cpu.so libc10.so libgomp* "$kept/torch/lib/"
  mkdir -p "$kept/nvidia/cu13/lib"
  cd "$work/unpacked/nvidia/cu13/lib"
  mv libcudart.so.* libcupti.so.* "$kept/nvidia/cu13/lib/"
fi
mv "$kept" "$directory"
