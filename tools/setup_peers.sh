#!/bin/sh
# A virtual environment with the peers of tools/peers.txt, in the cache: several GB, for `make bench-peers` alone. Prints its
# Python. Does nothing when it is already that of the list.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${TARE_CACHE:-$HOME/.cache/tare}
place=$cache/peers
stamp=$(cat "$here/peers.txt" "$0" | sha256sum | cut -d' ' -f1)-$(python3 -c 'import sys; print(sys.implementation.cache_tag)')
if [ "$(cat "$place/stamp" 2> /dev/null || true)" != "$stamp" ]; then
  echo "peers: installing into $place; this takes minutes" >&2
  # A virtual environment knows its own place, so that it cannot be made beside it and moved: the stamp comes last instead.
  rm -rf "$place"
  python3 -m venv --without-pip "$place"
  python3 -m pip --python "$place/bin/python" install --quiet --disable-pip-version-check --only-binary=:all: \
    --requirement "$here/peers.txt" >&2
  "$place/bin/python" -c 'import aimet_onnx, onnxruntime' > /dev/null
  echo "$stamp" > "$place/stamp"
fi
echo "$place/bin/python"
