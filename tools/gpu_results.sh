#!/bin/sh
# Says which figures of GPUs in bench/results were measured with other code than what is here (tools/cuda_hash.sh). Exits
# with 77 where there are none, and with 1 where some are out of date: run `make gpu-bundle` and `make gpu-check` there
# again.
set -eu
cd "$(dirname "$0")/.."
now=$(tools/cuda_hash.sh)
found=0
stale=0
for report in bench/results/*.json; do
  [ -e "$report" ] || continue
  measured=$(sed -n 's/.*"cuda_hash": *"\([^"]*\)".*/\1/p' "$report" | head -n 1)
  [ -n "$measured" ] || continue # of another benchmark
  found=$((found + 1))
  if [ "$measured" != "$now" ]; then
    echo "$report: measured with code $measured, here it is $now"
    stale=$((stale + 1))
  fi
done
[ "$found" -gt 0 ] || { echo "no figures of a GPU in bench/results"; exit 77; }
[ "$stale" -eq 0 ]
