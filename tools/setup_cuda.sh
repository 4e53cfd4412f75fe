#!/bin/sh
# Makes a CUDA toolkit out of the packages in tools/cuda.txt where the machine has none: compiler, runtime, cuBLAS, cuDNN,
# NCCL, laid out like /usr/local/cuda. Compiles one kernel for sm_90 to see that it works. Prints the folder.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
# In a shell of its own: the traps of this one stay.
check() (
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  trap 'exit 1' INT TERM
  printf '#include <cub/cub.cuh>\n__global__ void twice(float* x) { x[threadIdx.x] *= 2.0f; }\nint main() { twice<<<1, 32>>>(nullptr); }\n' > "$folder/probe.cu"
  "$1/bin/nvcc" -arch=sm_90 -std=c++20 -o "$folder/probe" "$folder/probe.cu" -L "$1/lib" -L "$1/lib64"
)
if [ -x /usr/local/cuda/bin/nvcc ]; then
  check /usr/local/cuda
  echo "/usr/local/cuda"
  exit 0
fi
prefix=${CUDA_PREFIX:-${TARE_CACHE:-$HOME/.cache/tare}/cuda}
stamp=$(sha256sum < "$here/cuda.txt" | cut -d' ' -f1)
if [ "$(cat "$prefix/stamp" 2> /dev/null || true)" != "$stamp" ]; then
  mkdir -p "$(dirname "$prefix")"
  work=$(mktemp -d "$(dirname "$prefix")/.cuda.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  trap 'exit 1' INT TERM
  python3 -m pip install --quiet --no-deps --require-hashes --only-binary=:all: --target "$work/site" --requirement "$here/cuda.txt" >&2
  mkdir "$work/cuda"
  for part in "$work"/site/nvidia/*/; do
    for folder in bin include lib lib64 nvvm; do
      if [ -d "$part$folder" ]; then mkdir -p "$work/cuda/$folder" && cp -a "$part$folder/." "$work/cuda/$folder/"; fi
    done
  done
  # Packages hold libx.so.13 only; a linker looks for libx.so.
  for library in "$work"/cuda/lib/*.so.*; do
    plain=${library%%.so.*}.so
    if [ ! -e "$plain" ]; then ln -s "$(basename "$library")" "$plain"; fi
  done
  if [ ! -e "$work/cuda/lib64" ]; then ln -s lib "$work/cuda/lib64"; fi
  chmod -R u+rwX "$work/cuda"
  chmod +x "$work"/cuda/bin/* "$work"/cuda/nvvm/bin/* 2> /dev/null || true
  check "$work/cuda"
  echo "$stamp" > "$work/cuda/stamp"
  rm -rf "$prefix"
  mv "$work/cuda" "$prefix"
fi
echo "$prefix"
