# The front door. Everything here is a thin cover over CMake presets and scripts/; none of it is
# needed to build by hand: cmake --preset release && cmake --build build/release.

JOBS ?= $(shell nproc)
FILE ?= configs/cluster/tesla-5gpu.json

.PHONY: help predict build trainer test check format format-check tidy sanitize fuzz bench package install clean

help:  ## Say what the targets do
	@sed -n 's/^\([a-z-]*\):.*## */\1\t/p' $(MAKEFILE_LIST) | expand -t 15

predict: build  ## Install what the CLI needs, build it, predict FILE (the five-GPU cluster)
	build/release/vitsim predict $(FILE)

build:  ## Install what the CLI needs and build build/release/vitsim
	@scripts/install_dependencies.sh cli
	@cmake --preset release > /dev/null
	@cmake --build build/release -j $(JOBS)

trainer:  ## Build build/release/vitsim-trainer too, with LibTorch fetched once; CUDA=1: for GPUs
	@scripts/install_dependencies.sh trainer
	@echo "LibTorch is fetched once into ~/.cache/vitsim ($(if $(CUDA),1.4 GB,0.5 GB) of files)"
	@cmake --preset release -DVITSIM_TRAINER=ON $(if $(CUDA),-DVITSIM_CUDA=ON) > /dev/null
	@cmake --build build/release -j $(JOBS)

test:  ## Install what the tests need, build everything, run every test
	@JOBS=$(JOBS) scripts/run_tests.sh test

check:  ## Check the code itself: format, fuzz targets, sanitizers, clang-tidy
	@JOBS=$(JOBS) scripts/run_tests.sh check

format:  ## Format every source file
	@scripts/format.sh

format-check:  ## Fail if a source file is not formatted
	@scripts/format.sh --check

tidy:  ## Run clang-tidy on every source file
	@JOBS=$(JOBS) scripts/tidy.sh

sanitize:  ## Unit, property and command-line tests under the address and undefined-behaviour sanitizers
	@cmake --preset sanitize > /dev/null
	@cmake --build build/sanitize -j $(JOBS)
	@ctest --preset sanitize -j $(JOBS) -L '^(unit|property|cli)$$'

fuzz:  ## Run every fuzz target for a few seconds
	@tests/fuzz/run.sh 5

bench:  ## Measure start-up times and run the benchmarks
	@cmake --preset test > /dev/null
	@cmake --build build/test -j $(JOBS)
	@scripts/run_benchmarks.sh build/test

package: build  ## Pack the CLI as a Debian package into build/release/package
	@cd build/release && cpack -G DEB > package.log || { cat package.log; exit 1; }
	@ls build/release/package/*.deb

install: build  ## Install the CLI, its data, man pages and completions; DESTDIR and PREFIX as usual
	@cmake --install build/release $(if $(PREFIX),--prefix $(PREFIX))

clean:  ## Remove all build folders
	@rm -rf build
