#!/usr/bin/env bash
# What only a GPU can show, in one command: the tests of tests/gpu, then every row of gpu.py and training_speed.py, all that
# they say in one folder. Called again, the rows go on where they stopped. docs/gpu.md
#
#   OUT      folder for logs and results [gpu-results]
#   DEVICE   cuda, or cpu to rehearse [cuda]
#   PYTHON   [python3]
#   LIMIT    seconds in all, where a machine is lent for minutes: the tests get half of them, the rows of gpu.py what is
#            left; training is not timed. Without it nothing is cut short.
#   WORKERS  processes of the tests, with pytest-xdist [8 on cuda, else 0]
# Arguments go to gpu.py: --quick, --minutes 30, --retry. Ends with the status of the tests.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} device=${DEVICE:-cuda} out=${OUT:-gpu-results} limit=${LIMIT:-}
workers=${WORKERS:-$([ "$device" = cuda ] && echo 8 || echo 0)}
mkdir -p "$out"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
steps=${MDET_MEMORY_STEPS:-100000}

# part SECONDS COMMAND...: where there is a limit, no part takes another's time
part() {
  local seconds=$1
  shift
  if [ -z "$limit" ]; then "$@"; else timeout -k 5 "$seconds" "$@"; fi
}

# OpenMM's CUDA platform needs libnvrtc and libcufft, which lie among torch's own libraries
torch=$("$python" -c 'import os, torch; print(os.path.dirname(torch.__file__))')
for folder in "$torch"/../nvidia/*/lib; do
  if [ -d "$folder" ]; then export LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}; fi
done

{
  nvidia-smi || true
  part 40 "$python" - << 'end'
import torch, numpy, openmm
from mdet_openmm.system.force import choose_backend
from mdet_openmm.system.platform import available_platforms, choose_platform

print("torch", torch.__version__, "numpy", numpy.__version__, "openmm", openmm.__version__)
print("platforms", *available_platforms(), *openmm.Platform.getPluginLoadFailures(), sep="\n  ")
choice = choose_platform()
print(choice.reason, choose_backend("auto", choice.name)[1], sep="\n")
end
} 2>&1 | tee "$out/machine.txt"

tests=(env "OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}" "$python" -m pytest -q --durations=10 -W ignore::DeprecationWarning -p no:cacheprovider)
if [ "$device" = cuda ]; then tests+=(-m gpu); fi
if [ -n "$limit" ] && "$python" -c 'import pytest_timeout' 2> /dev/null; then tests+=(--timeout 100); fi
spread=()
if [ "$workers" -gt 0 ]; then spread=(-n "$workers"); fi

# All of them beside each other, with the long one of memory; then a part of memory alone, with all that the device holds.
memory=tests/gpu/test_memory.py
seconds=$((${limit:-0} * 55 / 100))
if [ -n "$limit" ]; then export MDET_TESTS_SECONDS=$((limit * 40 / 100)); fi  # after which none is begun
MDET_MEMORY_STEPS=$steps MDET_MEMORY_ALONE=0 part "$seconds" "${tests[@]}" "$memory" \
  -k "$device and python and captured and random" > "$out/memory.log" 2>&1 &
beside=$!
MDET_MEMORY_STEPS=400 MDET_MEMORY_ALONE=0 part "$seconds" "${tests[@]}" "${spread[@]}" tests/gpu 2>&1 |
  tee "$out/tests.log" | tail -n 40
failed=$?
wait "$beside" || failed=$?
MDET_MEMORY_STEPS=400 part $((${limit:-0} / 8)) env -u MDET_TESTS_SECONDS "${tests[@]}" "$memory" -k random >> "$out/memory.log" 2>&1 || failed=$?
grep -hE "^(FAILED|ERROR)|passed|failed" "$out/memory.log"
echo "tests: $SECONDS s, status $failed"

# A fault in a library ends the process: the next one leaves that row out
: > "$out/rows.log"
for _ in 1 2 3; do
  if [ -n "$limit" ]; then
    minutes=$(((limit - SECONDS - 12) * 100 / 60))
    if [ "$minutes" -lt 10 ]; then break; fi
    set -- "$@" --minutes "$(printf '%d.%02d' $((minutes / 100)) $((minutes % 100)))"
  fi
  part $((${limit:-0} - SECONDS)) "$python" benchmarks/gpu.py --device "$device" --output "$out" "$@" \
    2>> "$out/rows.log" > "$out/table.md"
  status=$?
  if [ "$status" -lt 126 ]; then break; fi
  echo "gpu.py: status $status" | tee -a "$out/rows.log"
done
if [ -z "$limit" ]; then
  "$python" benchmarks/training_speed.py --device "$device" --output "$out" 2>> "$out/rows.log" | tee "$out/training.md"
fi
tail -n 3 "$out/rows.log"
if [ -f "$out/table.md" ]; then cat "$out/table.md"; fi
exit "$failed"
