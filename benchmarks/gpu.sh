#!/usr/bin/env bash
# What only a GPU can show, in one command: the tests of tests/gpu, then every row of gpu.py and training_speed.py, all that
# they say in one folder. Called again, the rows go on where they stopped. docs/gpu.md
#
#   OUT      folder for logs and results [gpu-results]
#   DEVICE   cuda, or cpu to rehearse [cuda]
#   PYTHON   [python3]
# Arguments go to gpu.py: --quick, --minutes 30, --retry. Ends with the status of the tests.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} device=${DEVICE:-cuda} out=${OUT:-gpu-results}
mkdir -p "$out"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} MDET_MEMORY_STEPS=${MDET_MEMORY_STEPS:-100000}

# OpenMM's CUDA platform needs libnvrtc and libcufft, which lie among torch's own libraries
torch=$("$python" -c 'import os, torch; print(os.path.dirname(torch.__file__))')
for folder in "$torch"/../nvidia/*/lib; do
  if [ -d "$folder" ]; then export LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}; fi
done

{
  nvidia-smi || true
  "$python" - << 'end'
import torch, numpy, openmm
from mdet_openmm.system.force import choose_backend
from mdet_openmm.system.platform import available_platforms, choose_platform

print("torch", torch.__version__, "numpy", numpy.__version__, "openmm", openmm.__version__)
print("platforms", *available_platforms(), *openmm.Platform.getPluginLoadFailures(), sep="\n  ")
choice = choose_platform()
print(choice.reason, choose_backend("auto", choice.name)[1], sep="\n")
end
} 2>&1 | tee "$out/machine.txt"

marked=()
if [ "$device" = cuda ]; then marked=(-m gpu); fi
"$python" -m pytest "${marked[@]}" -q --durations=10 tests/gpu 2>&1 | tee "$out/tests.log"
tests=$?
"$python" benchmarks/gpu.py --device "$device" --output "$out" "$@" 2> "$out/rows.log" | tee "$out/table.md"
"$python" benchmarks/training_speed.py --device "$device" --output "$out" 2>> "$out/rows.log" | tee "$out/training.md"
exit "$tests"
