#!/bin/sh
# On a machine with a GPU, in the root of this tree: unpacks gpu-bundle/bundle.tar.xz and runs the tests on the device,
# the benchmarks, PyTorch's figures and the memory checker. `tools/gpu_check.sh RESULTS [step...]`: by default all
# steps, the ones that say most first. Ends within 10 minutes: every step has a limit, and so have all together. A
# failed step does not keep the next from running, only a device that does not answer does. After every step the folder
# RESULTS has the table <gpu>.md, <gpu>.json and logs.tar.gz; the exit status says whether all passed. Several runs are
# put together by unpacking their logs into one folder, for tools/gpu_report.py.
set -u
cd "$(dirname "$0")/.." || exit 1
all="graphs kernels bench_kernels bench_resnet50 bench_minilm conformance golden pytorch sweep"
all="$all memcheck memcheck_operators racecheck"
total=540 # seconds
begin=$(date +%s)
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

# So many seconds, or as many as are left.
bounded() {
  left=$((begin + total - $(date +%s)))
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
    ours timeout -k 5 "$limit" "$@" > "$logs/$name.log" 2>&1
    status=$?
    case $status-$name in
      0-*) outcome=passed ;;
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
  step "$name" "$limit" python3 tools/gpu_tests.py "$logs" "$name" $((limit - 4)) "$@"
}

checked() { # name, seconds, options of the checker, command…
  name=$1
  limit=$2
  shift 2
  if command -v compute-sanitizer > /dev/null; then
    step "$name" "$limit" compute-sanitizer --error-exitcode 9 "$@"
  else
    echo "not run: no compute-sanitizer" | tee "$logs/$name.step"
  fi
}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader > "$logs/gpu" 2> /dev/null ||
  echo unknown > "$logs/gpu"
nvidia-smi -q > "$logs/nvidia-smi.log" 2>&1
ours ldd "$work/bin/test_cuda" > "$logs/libraries.log" 2>&1
bin=$work/bin
node=cuda_node.test
step device 30 "$bin/test_cuda" --gtest_filter='CudaDevice.*'
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
      tests kernels 35 0 "$bin/test_cuda=-CudaGraphs*:CudaChoices*:CudaDevice*:*EveryFloat*" "$bin/test_chains=*/cuda"
      ;;
    bench_kernels) step bench_kernels 40 "$bin/bench_cuda_kernels" "$logs/kernels-figures.json" ;;
    bench_resnet50) step bench_resnet50 60 "$bin/bench_cuda_models" --output "$logs/resnet50-figures.json" ;;
    bench_minilm)
      step bench_minilm 30 "$bin/bench_cuda_models" --model "$work/minilm.onnx" --output "$logs/minilm-figures.json"
      ;;
    conformance) tests conformance 95 16 "$bin/test_conformance=cuda_*" ;;
    golden) tests golden 40 8 "$bin/test_golden=*cuda_*:*/cuda-*minilm*" ;;
    pytorch)
      step pytorch 45 env LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}" python3 bench/peer_pytorch.py \
        "$logs/pytorch-figures.json"
      ;;
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
  esac
done
write_results
cat "$work/report"
exit "$failed"
