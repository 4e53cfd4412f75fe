#!/bin/sh
# Packs what a GPU machine needs that has no more than a driver, the CUDA 13 runtime libraries and cuDNN 9: the tests
# and benchmarks, the shared libraries behind them but those of NVIDIA and of the C and C++ runtime, models and ONNX
# tests. The one large model goes without its weights, for the benchmark, which draws them. Writes
# gpu-bundle/bundle.tar.xz, under 50 MB, so that with the tree it stays below 64 MiB; tools/gpu_check.sh unpacks and
# runs it, in the root of this tree.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build-cuda}
cache=${TARE_CACHE:-$HOME/.cache/tare}
most=$((50 * 1000 * 1000))
rm -rf gpu-bundle # all that is in it travels
mkdir gpu-bundle
work=$(mktemp -d gpu-bundle/.work.XXXXXX)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
mkdir -p "$work/bin" "$work/lib" "$work/cache/models"
programs="test_cuda test_chains test_conformance test_golden bench_cuda_kernels bench_cuda_models"
for program in $programs; do
  [ -x "$build/$program" ] || { echo "gpu_bundle: $build/$program is missing; run \`make gpu-bundle\`" >&2; exit 1; }
  strip -o "$work/bin/$program" "$build/$program"
done
# shellcheck disable=SC2086 # their names
(cd "$build" && ldd $programs) | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | sort -u | while read -r library; do
  case $(basename "$library") in
    libcuda* | libcublas* | libcudnn* | libnv* | libc.so* | libm.so* | libdl.so* | librt.so* | \
      libpthread.so* | libstdc++* | libgcc_s*) ;;
    *) strip --strip-unneeded -o "$work/lib/$(basename "$library")" "$library" ;;
  esac
done
for model in "$cache"/models/*.onnx; do
  case $model in
    *MiniLM*) "$build/bench_cuda_models" --model "$model" --leave-out-weights "$work/minilm.onnx" ;;
    *) cp "$model" "$work/cache/models/" ;;
  esac
done
onnx=$(sed -n 's/^onnx==\([^ ]*\).*/\1/p' tools/models.txt) # the cache may have older ones beside it
mkdir "$work/cache/onnx-backend-tests"
cp -r "$cache/onnx-backend-tests/$onnx" "$work/cache/onnx-backend-tests/"
# Four megabytes of random numbers for a pool that smaller tests cover.
rm -r "$work/cache/onnx-backend-tests/$onnx/pytorch-converted/test_MaxPool2d_stride_padding_dilation"
{
  echo "commit $(git describe --always --abbrev=40 --exclude '*' --dirty 2> /dev/null || echo unknown)"
  echo "cuda $(tools/cuda_hash.sh)"
} > "$work/origin"
tar -C "$work" -c . | xz -T0 -9 > gpu-bundle/bundle.tar.xz
size=$(wc -c < gpu-bundle/bundle.tar.xz)
echo "gpu-bundle/bundle.tar.xz: $size bytes"
[ "$size" -lt "$most" ] || { echo "gpu_bundle: more than $most bytes" >&2; exit 1; }
