#!/bin/sh
# Puts ONNX Runtime and NumPy into a folder of their own in the cache, out of the way of the system's Python. The tests of
# exported models run them from there; nothing that is built needs them.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${TARE_CACHE:-$HOME/.cache/tare}
stamp=$(cat "$here/onnxruntime.txt" "$0" | sha256sum | cut -d' ' -f1)-$(python3 -c 'import sys; print(sys.implementation.cache_tag)')
[ "$(cat "$cache/onnxruntime/stamp" 2> /dev/null || true)" != "$stamp" ] || exit 0
mkdir -p "$cache"
work=$(mktemp -d "$cache/.onnxruntime.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --require-hashes --only-binary=:all: \
  --target "$work/site" --requirement "$here/onnxruntime.txt"
PYTHONPATH=$work/site python3 -c 'import onnxruntime'
echo "$stamp" > "$work/site/stamp"
rm -rf "$cache/onnxruntime"
mv "$work/site" "$cache/onnxruntime"
echo "onnxruntime: in $cache/onnxruntime"
