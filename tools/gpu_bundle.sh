#!/bin/sh
# Packs what a GPU machine needs that has no more than a driver, the CUDA 13 runtime libraries and cuDNN 9: the tests and
# benchmarks, the shared libraries behind them but those of NVIDIA and of the C and C++ runtime, models and ONNX tests.
# Writes gpu-bundle/bundle.tar.xz, under 55 MB; tools/gpu_check.sh unpacks and runs it, in the root of this tree.
# `tools/gpu_bundle.sh minilm` packs the one large model, by itself.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build-cuda}
cache=${TARE_CACHE:-$HOME/.cache/tare}
most=$((55 * 1000 * 1000))
mkdir -p gpu-bundle
work=$(mktemp -d gpu-bundle/.work.XXXXXX)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
name=bundle
mkdir -p "$work/bin" "$work/lib" "$work/cache/models"
if [ "${1:-}" = minilm ]; then
  name=minilm
  cp "$cache/models/paraphrase-MiniLM-L3-v2.onnx" "$work/cache/models/"
else
  for program in test_cuda test_chains test_conformance test_golden bench_cuda_kernels bench_cuda_models; do
    [ -x "$build/$program" ] || { echo "gpu_bundle: $build/$program is missing; run \`make gpu-bundle\`" >&2; exit 1; }
    strip -o "$work/bin/$program" "$build/$program"
  done
  ldd "$build/test_cuda" "$build/test_golden" "$build/bench_cuda_models" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | sort -u |
    while read -r library; do
      case $(basename "$library") in
        libcuda* | libcudart* | libcublas* | libcudnn* | libnv* | libc.so* | libm.so* | libdl.so* | librt.so* | \
          libpthread.so* | libstdc++* | libgcc_s*) ;;
        *) strip --strip-unneeded -o "$work/lib/$(basename "$library")" "$library" ;;
      esac
    done
  for model in "$cache"/models/*.onnx; do
    case $model in *MiniLM*) ;; *) cp "$model" "$work/cache/models/" ;; esac
  done
  cp -r "$cache/onnx-backend-tests" "$work/cache/"
fi
{
  echo "commit $(git rev-parse HEAD 2> /dev/null || echo unknown)"
  echo "cuda $(tools/cuda_hash.sh)"
} > "$work/origin"
tar -C "$work" -c . | xz -T0 -6 > "gpu-bundle/$name.tar.xz"
size=$(wc -c < "gpu-bundle/$name.tar.xz")
echo "gpu-bundle/$name.tar.xz: $size bytes"
[ "$size" -lt "$most" ] || [ "$name" = minilm ] || { echo "gpu_bundle: more than $most bytes" >&2; exit 1; }
