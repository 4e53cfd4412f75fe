# From a bare Debian or Ubuntu machine to a tested build: `make test`. All work is in CMake and in tools/; this file only
# says what comes before what.
PRESET ?= release
BUILD ?= build
SUITE ?= bookworm
export TARE_CACHE ?= $(HOME)/.cache/tare
JOBS ?= $(shell nproc)
CONFIGURE ?=
# Debian's oneDNN 2 and GCC's OpenMP share threads: more threads than cores only wait for each other.
TEST_JOBS ?= $(shell n=$$(( $(JOBS) / 2 )); echo $$(( n > 1 ? n : 1 )))

.PHONY: all setup data build test demo conformance bench fresh setup-cuda format tidy clean install

all: build

setup:
	@tools/setup.sh

data: setup
	@tools/fetch_data.sh

build: setup
	cmake --preset $(PRESET) -B $(BUILD) $(CONFIGURE)
	cmake --build $(BUILD) --parallel $(JOBS)

test: data build
	ctest --test-dir $(BUILD) --output-on-failure --parallel $(TEST_JOBS)

demo: data build
	@BUILD=$(BUILD) tools/demo.sh

# The ONNX backend tests alone.
conformance: data build
	ctest --test-dir $(BUILD) --output-on-failure --tests-regex '[Cc]onformance'

bench: data
	cmake --preset $(PRESET) -B $(BUILD) -DTARE_BENCH=ON $(CONFIGURE)
	cmake --build $(BUILD) --parallel $(JOBS)
	@set -e; found=; for b in $(BUILD)/bench_*; do [ -x "$$b" ] || continue; found=1; "$$b"; done; \
	  [ -n "$$found" ] || { echo "bench: no benchmarks were built" >&2; exit 1; }

# The whole way on an empty Debian: SUITE=bookworm or SUITE=trixie. Needs root and debootstrap.
fresh:
	@SUITE=$(SUITE) tools/fresh.sh

setup-cuda:
	@tools/setup_cuda.sh

format:
	@git ls-files '*.cpp' '*.hpp' '*.cu' '*.cuh' '*.h' | xargs clang-format -i

tidy: build
	@git ls-files 'host/*.cpp' | xargs -P $(JOBS) -n 4 clang-tidy --quiet -p $(BUILD)

clean:
	rm -rf $(BUILD)

install: build
	cmake --install $(BUILD)
