#!/bin/sh
# On a machine with a GPU, in the root of this tree: unpacks gpu-bundle/*.tar.xz and runs the tests on the device, the
# memory checker on some of them, the benchmarks and PyTorch's figures. tools/gpu_check.sh RESULTS writes logs, JSON and a
# table into the folder RESULTS. Ends within 8 minutes: every step has a limit of its own. A failed step does not keep the
# next from running; the exit status says whether all passed.
set -u
cd "$(dirname "$0")/.."
results=${1:?usage: tools/gpu_check.sh RESULTS}
mkdir -p "$results"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for bundle in gpu-bundle/*.tar.xz; do
  xz -dc "$bundle" | tar -C "$work" -x || { echo "gpu_check: cannot unpack $bundle" >&2; exit 1; }
done
cp "$work/origin" "$results/origin"

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
path=$work/lib
for library in libcublasLt.so.13 libcudnn.so.9 libnvrtc.so.13; do
  folder=$(folder_of "$library")
  [ -n "$folder" ] || echo "gpu_check: $library was not found" >&2
  path=$path${folder:+:$folder}
done
export LD_LIBRARY_PATH="$path${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export TARE_CACHE="$work/cache"
chmod +x "$work"/bin/*

failed=0
step() { # name, seconds, command…
  name=$1
  limit=$2
  shift 2
  timeout "$limit" "$@" > "$results/$name.log" 2>&1
  status=$?
  case $status in
    0) outcome=passed ;;
    77) outcome="not run" ;;
    124) outcome="ran out of time" failed=1 ;;
    *) outcome="failed ($status)" failed=1 ;;
  esac
  echo "$name: $outcome" | tee -a "$results/steps"
}
: > "$results/steps"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader > "$results/gpu" 2> /dev/null || echo unknown > "$results/gpu"

models=$([ -e "$work/cache/models/paraphrase-MiniLM-L3-v2.onnx" ] && echo '*cuda_*:*/cuda' || echo '*cuda_*:*/cuda-*minilm*')
step kernels 60 "$work/bin/test_cuda"
step chains 20 "$work/bin/test_chains" --gtest_filter='*/cuda'
step conformance 90 "$work/bin/test_conformance" --gtest_brief=1 --gtest_filter='cuda_*'
step golden 80 "$work/bin/test_golden" --gtest_filter="$models"
if command -v compute-sanitizer > /dev/null; then
  step memcheck 60 compute-sanitizer --error-exitcode 9 "$work/bin/test_conformance" --gtest_brief=1 \
    --gtest_filter='cuda_node.test_softmax*:cuda_node.test_layer_norm*:cuda_node.test_reduce_mean*:cuda_node.test_conv*:cuda_node.test_gather*'
  step racecheck 40 compute-sanitizer --tool racecheck --error-exitcode 9 "$work/bin/test_conformance" --gtest_brief=1 \
    --gtest_filter='cuda_node.test_softmax_large*:cuda_node.test_layer_normalization_2d*:cuda_node.test_reduce_sum*random*'
else
  echo "memcheck: not run" | tee -a "$results/steps"
fi
step bench_kernels 60 "$work/bin/bench_cuda_kernels" "$results/kernels.json"
step bench_models 60 "$work/bin/bench_cuda_models" --output "$results/resnet50.json"
if [ -e "$work/cache/models/paraphrase-MiniLM-L3-v2.onnx" ]; then
  step bench_minilm 30 "$work/bin/bench_cuda_models" --model "$work/cache/models/paraphrase-MiniLM-L3-v2.onnx" \
    --output "$results/minilm.json"
fi
step bench_pytorch 60 python3 bench/peer_pytorch.py "$results/pytorch.json"
python3 tools/gpu_report.py "$results"
exit "$failed"
