#!/usr/bin/env bash
# What only a GPU can show, in one command, also on a machine that reaches no network: the tests of tests/gpu, then
# benchmarks/gpu.py, everything that they say in one folder. How to call it, and what to carry: docs/gpu.md.
#
#   WHEELS   folder of wheels that this machine lacks [.whl]
#   PLUGIN   source of openmm-torch for build_openmmtorch.sh [.whl/openmm-torch.tar.gz]
#   SITE     folder to install into [/tmp/site]
#   OUT      folder for logs and results [gpu-results]
#   DEVICE   cuda, or cpu to rehearse [cuda]
#   TESTS    what pytest runs [tests/gpu]; "none" leaves them out
#   MINUTES  for all of it [9]
#   MDET_MEMORY_STEPS  force calls of the test of memory [2000]
# Further arguments go to benchmarks/gpu.py.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} device=${DEVICE:-cuda}
wheels=${WHEELS:-.whl} plugin=${PLUGIN:-.whl/openmm-torch.tar.gz}
site=${SITE:-/tmp/site} out=$(mkdir -p "${OUT:-gpu-results}" && realpath "${OUT:-gpu-results}")
export MDET_MEMORY_STEPS=${MDET_MEMORY_STEPS:-2000}

left() { echo $((60 * ${MINUTES:-9} - SECONDS - 45)); } # seconds, with some to spare for the last row

source benchmarks/gpu_environment.sh
if [ -f "$plugin" ] && [ ! -f "$site/openmmtorch.py" ]; then
  bash benchmarks/build_openmmtorch.sh "$plugin" "$site" > "$out/build.log" 2>&1 || echo "openmm-torch was not built: build.log"
  # a force that is refused is no harm, but a plugin that crashes would take everything below with it
  "$python" -c 'from mdet_openmm.system import force, platform; force.choose_backend("auto", platform.choose_platform().name)' \
    >> "$out/build.log" 2>&1 || rm -f "$site"/*openmmtorch* "$site"/OpenMM.libs/lib/plugins/*Torch*
fi

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
} > "$out/machine.txt" 2>&1
cat "$out/machine.txt"

if [ "${TESTS:-}" != none ]; then
  marked=()
  if [ "$device" = cuda ]; then marked=(-m gpu); fi
  timeout --signal=INT --kill-after=15 "$(left)" "$python" -m pytest "${marked[@]}" -q --durations=10 -p no:cacheprovider \
    ${TESTS:-tests/gpu} > "$out/tests.log" 2>&1
  tests=$?
  tail -n 60 "$out/tests.log"
fi
minutes=$("$python" -c "print(max(0, $(left)) / 60)")
"$python" benchmarks/gpu.py --device "$device" --minutes "$minutes" --output "$out" "$@" \
  2> "$out/rows.log" | tee "$out/table.md"
exit "${tests:-0}"
