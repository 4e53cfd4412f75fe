#!/bin/sh
# The hash of what results on a GPU depend on: the kernels and their benchmarks, the public headers, the headers of the
# host's folders that kernels include, the passes and the executor (not the readers of data) that run models, the flags
# they are compiled with, and the toolkit.
set -eu
cd "$(dirname "$0")/.."
{
  find cuda bench/cuda bench/support include/tare host/plan -type f
  find host/calib host/cpu host/export host/model -type f -name '*.hpp'
  find host/run -type f ! -name '*records*' ! -name 'np[yz].*' ! -name 'zip.*' ! -name 'image.*' ! -name 'dataset.*' \
    ! -name 'labels.*' ! -name 'orientation.*'
  echo bench/peer_pytorch.py
  echo tools/cuda.txt
} | LC_ALL=C sort | {
  xargs sha256sum
  grep -E 'COMPILE|compile_|FLAGS|STANDARD|ARCHITECTURES|BUILD_TYPE' \
    CMakeLists.txt CMakePresets.json bench/CMakeLists.txt
} | sha256sum | cut -c1-16
