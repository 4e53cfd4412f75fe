#!/bin/sh
# On a machine with a GPU, in the root of this tree: unpacks gpu-bundle/bundle.tar.xz and runs the tests on the device,
# the benchmarks, PyTorch's figures and the memory checker. `tools/gpu_check.sh RESULTS [step...]`: by default all
# steps, the ones that say most first. Every step has a limit, and all together end, unpacking and report included,
# within GPU_CHECK_SECONDS, by default 450. A failed step does not keep the next from running, only a device that does
# not answer does. After every step the folder RESULTS has the table <gpu>.md, <gpu>.json and logs.tar.gz; the exit
# status says whether all passed. Several runs are put together by unpacking their logs into one folder, for
# tools/gpu_report.py.
set -u
cd "$(dirname "$0")/.." || exit 1
all="graphs kernels bench_kernels bench_resnet50 bench_minilm pytorch conformance golden random sweep"
all="$all memcheck memcheck_operators racecheck memcheck_chains racecheck_kernels"
begin=$(date +%s)
total=${GPU_CHECK_SECONDS:-450}
grace=5  # seconds that a step has to end when its time is up
margin=6 # for tools/gpu_tests.py to write its results in
results=${1:?usage: tools/gpu_check.sh RESULTS [step...]}
shift
steps=${*:-$all}
for name in $steps; do
  case " $all " in *" $name "*) ;; *) echo "gpu_check: '$name' is no step: $all" >&2; exit 2 ;; esac
done
mkdir -p "$results"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
logs=$work/logs
mkdir "$logs"
bundle=gpu-bundle/bundle.tar.xz
tar -C "$work" -xJf "$bundle" 2> /dev/null || python3 -m tarfile -e "$bundle" "$work" ||
  { echo "gpu_check: cannot unpack $bundle" >&2; exit 1; }
cp "$work/origin" "$logs/origin"
echo "here $(tools/cuda_hash.sh)" >> "$logs/origin"

# Folders that hold a library: of the system, of the toolkit, of Python packages (nvidia/*/lib).
folder_of() {
  {
    ldconfig -p | sed -n "s|.*$1 .*=> \(.*\)|\1|p"
    ls /usr/local/cuda*/lib64/"$1" /usr/local/cuda*/targets/*/lib/"$1" 2> /dev/null
    python3 -c 'import glob, nvidia, sys
for folder in nvidia.__path__:
    for found in sorted(glob.glob(folder + "/**/lib*/" + sys.argv[1], recursive=True)): print(found)' "$1" 2> /dev/null
  } | head -n 1 | xargs -r dirname
}
libraries=$work/lib
for library in libcublasLt.so.13 libcudnn.so.9 libnvrtc.so.13; do
  folder=$(folder_of "$library")
  [ -n "$folder" ] || echo "gpu_check: $library was not found" >&2
  libraries=$libraries${folder:+:$folder}
done
libraries=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
chmod +x "$work"/bin/*
PATH=$PATH:/usr/local/cuda/bin # compute-sanitizer

# The bundle's programs: PyTorch and Python are to find their own libraries. A device that goes away fails tests.
ours() {
  env LD_LIBRARY_PATH="$libraries" TARE_CACHE="$work/cache" TARE_REQUIRE_DEVICE=1 "$@"
}

failed=0
write_results() {
  python3 tools/gpu_report.py "$logs" "$results" > "$work/report" || failed=1
  tar -C "$logs" -czf "$work/logs.tar.gz" . && cp "$work/logs.tar.gz" "$results/"
}

# So many seconds, or as many as are left, but for the grace and a report.
bounded() {
  left=$((begin + total - grace - 3 - $(date +%s)))
  echo $(($1 < left ? $1 : left))
}

step() { # name, seconds, command…
  name=$1
  limit=$(bounded "$2")
  shift 2
  if [ "$limit" -lt 5 ]; then
    outcome="no time left" failed=1
  else
    since=$(date +%s)
    ours timeout -k "$grace" "$limit" "$@" > "$logs/$name.log" 2>&1
    status=$?
    case $name in # whatever the exit status: nothing was checked
      memcheck* | racecheck*) if grep -qi 'device not supported' "$logs/$name.log"; then status=unsupported; fi ;;
    esac
    case $status-$name in
      0-*) outcome=passed ;;
      unsupported-*) outcome="not run: compute-sanitizer does not support this device" ;;
      77-pytorch) outcome="not run" ;;
      124-* | 137-*) outcome="ran out of time" failed=1 ;;
      *) outcome="failed ($status)" failed=1 ;;
    esac
    outcome="$outcome, $(($(date +%s) - since)) s"
  fi
  echo "$outcome" > "$logs/$name.step"
  echo "$name: $outcome"
  write_results
}

tests() { # name, seconds, parts, program=filter…
  name=$1
  limit=$(bounded "$2")
  shift 2
  [ "$limit" -gt "$((2 * margin))" ] || limit=0
  step "$name" "$limit" python3 tools/gpu_tests.py "$logs" "$name" $((limit - margin)) "$@"
}

checked() { # name, seconds, options of the checker, command…
  name=$1
  limit=$2
  shift 2
  if command -v compute-sanitizer > /dev/null; then
    step "$name" "$limit" compute-sanitizer --error-exitcode 9 "$@"
  else
    echo "not run: no compute-sanitizer" > "$logs/$name.step"
    echo "$name: not run: no compute-sanitizer"
  fi
}

timeout -k 1 10 nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader > "$logs/gpu" \
  2> /dev/null || echo unknown > "$logs/gpu"
timeout -k 1 10 nvidia-smi -q > "$logs/nvidia-smi.log" 2>&1
ours timeout -k 1 10 ldd "$work/bin/test_cuda" > "$logs/libraries.log" 2>&1
bin=$work/bin
node=cuda_node.test
# The first to load the libraries, half a gigabyte of cuBLASLt alone, from a disk that nobody has read yet.
step device 90 "$bin/test_cuda" --gtest_filter='CudaDevice.*'
case $(cat "$logs/device.step") in
  passed*) ;;
  *)
    cat "$logs/device.log" "$logs/gpu" >&2
    grep 'not found' "$logs/libraries.log" >&2
    echo "gpu_check: the device does not answer; nothing was tested" >&2
    exit 1
    ;;
esac

for step in $steps; do
  case $step in
    graphs) tests graphs 40 0 "$bin/test_cuda=CudaGraphs*:CudaChoices*" ;;
    kernels)
      tests kernels 35 0 "$bin/test_cuda=-CudaGraphs*:CudaChoices*:CudaDevice*:*EveryFloat*" "$bin/test_chains=*/cuda-*RandomGraphs*"
      ;;
    bench_kernels) step bench_kernels 40 "$bin/bench_cuda_kernels" "$logs/kernels-figures.json" ;;
    bench_resnet50) step bench_resnet50 60 "$bin/bench_cuda_models" --output "$logs/resnet50-figures.json" ;;
    bench_minilm)
      step bench_minilm 45 "$bin/bench_cuda_models" --model "$work/minilm.onnx" --output "$logs/minilm-figures.json"
      ;;
    pytorch)
      step pytorch 60 env LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}" python3 bench/peer_pytorch.py \
        "$logs/pytorch-figures.json"
      ;;
    conformance) tests conformance 95 16 "$bin/test_conformance=cuda_*" ;;
    golden) tests golden 40 8 "$bin/test_golden=*cuda_*:*/cuda-*minilm*" ;;
    random) tests random 40 3 "$bin/test_chains=*RandomGraphs*/cuda" ;;
    sweep) tests sweep 40 0 "$bin/test_cuda=*EveryFloat*" ;;
    memcheck)
      checked memcheck 30 "$bin/test_cuda" \
        --gtest_filter='CudaSearch.Gives*:CudaObserve.Gives*:CudaQuantize.Gives*'
      ;;
    memcheck_operators)
      checked memcheck_operators 25 "$bin/test_conformance" \
        --gtest_filter="${node}_softmax_axis_?:${node}_layer_normalization_?d_axis?:${node}_reduce_mean*random"
      ;;
    racecheck)
      checked racecheck 25 --tool racecheck "$bin/test_conformance" \
        --gtest_filter="${node}_softmax_large*:${node}_layer_normalization_2d*:${node}_reduce_sum*random"
      ;;
    memcheck_chains)
      checked memcheck_chains 30 "$bin/test_chains" \
        --gtest_filter='*AttentionTest.IsRightInOddCorners/cuda:*ObservingChain.TellsAGate*/cuda'
      ;;
    racecheck_kernels)
      checked racecheck_kernels 30 --tool racecheck "$bin/test_cuda" \
        --gtest_filter='CudaObserve.CountsNothing*:CudaObserve.GivesThemOfOddValues'
      ;;
  esac
done
write_results
cat "$work/report"
exit "$failed"
