# From a bare Debian or Ubuntu machine to a tested build: `make test`. All work is in CMake and in tools/; this file only
# says what comes before what.
PRESET ?= release
BUILD ?= build
SUITE ?= bookworm
export TARE_CACHE ?= $(HOME)/.cache/tare
JOBS ?= $(shell nproc)
CONFIGURE ?=
# The one of Debian 12: each version formats a little differently.
CLANG_FORMAT ?= clang-format-14
# Debian's oneDNN 2 and GCC's OpenMP share threads: more threads than cores only wait for each other.
TEST_JOBS ?= $(shell n=$$(( $(JOBS) / 2 )); echo $$(( n > 1 ? n : 1 )))

.PHONY: all setup data onnxruntime build test demo conformance parity bench bench-peers asan races fresh setup-cuda cuda gpu-bundle gpu-check format format-check tidy clean install

all: build

setup:
	@tools/setup.sh

data: setup
	@tools/fetch_data.sh

# For the tests that run exported models in it.
onnxruntime: setup
	@tools/setup_onnxruntime.sh

build: setup
	cmake --preset $(PRESET) -B $(BUILD) $(CONFIGURE)
	cmake --build $(BUILD) --parallel $(JOBS)

# The ONNX backend tests and the comparison with AIMET run first and by themselves, because ctest would keep what they
# print to itself.
test: conformance parity onnxruntime
	ctest --test-dir $(BUILD) --output-on-failure --parallel $(TEST_JOBS) --exclude-regex '^(conformance|parity)$$'

demo: data build
	@BUILD=$(BUILD) tools/demo.sh

# The ONNX backend tests alone.
conformance: data build
	@$(BUILD)/test_conformance --gtest_brief=1

# Quantizers and encodings of eight real models beside AIMET's, one table.
parity: data build
	@$(BUILD)/test_parity

# Models, memory and kernels in one report: JSON to build/bench.json, or RESULTS=file.
bench: data
	cmake --preset $(PRESET) -B $(BUILD) -DTARE_BENCH=ON $(CONFIGURE)
	cmake --build $(BUILD) --parallel $(JOBS) --target tare_cli bench_models bench_kernels
	@python3 bench/run.py --build $(BUILD) --output $(if $(filter-out file,$(origin RESULTS)),$(RESULTS),$(BUILD)/bench.json)

# Beside ONNX Runtime and aimet-onnx, which are installed for it (several GB): bench/results/cpu-peers.*
bench-peers: data
	cmake --preset $(PRESET) -B $(BUILD) -DTARE_BENCH=ON $(CONFIGURE)
	cmake --build $(BUILD) --parallel $(JOBS) --target bench_models bench_worker
	@python=$$(tools/setup_peers.sh) && python3 bench/peers.py --python "$$python" --build $(BUILD)

# The tests under AddressSanitizer and UndefinedBehaviorSanitizer.
asan: data onnxruntime
	cmake --preset asan $(CONFIGURE)
	cmake --build --preset asan --parallel $(JOBS)
	ctest --preset asan --parallel $(TEST_JOBS)

# Races between the threads of a kernel, by ThreadSanitizer: needs nvcc's headers, and no device.
races: data
	@toolkit=$$(tools/setup_cuda.sh) && \
	  cmake --preset cuda -B build-races -DTARE_RACES=ON -DCMAKE_CUDA_COMPILER=$$toolkit/bin/nvcc $(CONFIGURE) && \
	  cmake --build build-races --parallel $(JOBS) --target test_cuda_host
	TSAN_OPTIONS=ignore_noninstrumented_modules=1 build-races/test_cuda_host --gtest_brief=1 \
	  --gtest_filter='CudaDevice.OtherThreads*:CudaObserve*:CountingChain*:CudaRows.Addresses*:*Rows.Masks*:CudaQuantize.Gives*:CudaSearch*:CudaOperators*:*Halves*:cuda_host_node*'

# The whole way on an empty Debian: SUITE=bookworm or SUITE=trixie. Needs root and debootstrap.
fresh:
	@SUITE=$(SUITE) tools/fresh.sh

setup-cuda:
	@tools/setup_cuda.sh

# Build and tests with the CUDA backend; its own tests say so and pass where there is no device.
cuda: data onnxruntime
	@toolkit=$$(tools/setup_cuda.sh) && \
	  cmake --preset cuda -DCMAKE_CUDA_COMPILER=$$toolkit/bin/nvcc $(CONFIGURE) && \
	  cmake --build --preset cuda --parallel $(JOBS) && \
	  ctest --preset cuda --parallel $(TEST_JOBS)

# What a GPU machine needs, in gpu-bundle/; and, over there, the tests and benchmarks: RESULTS=folder, STEPS="some of them".
gpu-bundle: data
	@toolkit=$$(tools/setup_cuda.sh) && \
	  cmake --preset cuda -DTARE_BENCH=ON -DCMAKE_CUDA_COMPILER=$$toolkit/bin/nvcc $(CONFIGURE) && \
	  cmake --build --preset cuda --parallel $(JOBS) --target test_cuda test_chains test_conformance test_golden bench_cuda_kernels bench_cuda_models
	@BUILD=build-cuda tools/gpu_bundle.sh

RESULTS ?= gpu-results
gpu-check:
	@tools/gpu_check.sh $(RESULTS) $(STEPS)

SOURCES = git ls-files '*.cpp' '*.hpp' '*.cu' '*.cuh' '*.h'

format:
	@$(SOURCES) | xargs $(CLANG_FORMAT) -i

format-check:
	@$(SOURCES) | xargs $(CLANG_FORMAT) --dry-run -Werror

tidy: build
	@git ls-files 'host/*.cpp' | xargs -P $(JOBS) -n 4 clang-tidy --quiet -p $(BUILD)

clean:
	rm -rf $(BUILD)

install: build
	cmake --install $(BUILD)
