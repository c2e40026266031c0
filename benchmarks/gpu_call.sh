#!/usr/bin/env bash
# One Python script on a machine that reaches no network, with the wheels that it is given, as gpu_machine.sh installs
# them: bash benchmarks/gpu_call.sh benchmarks/md17.py --minutes 9 ... (docs/gpu.md).
#
#   WHEELS   folder of wheels that this machine lacks [.whl]
#   SITE     folder to install into [/tmp/site]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} wheels=${WHEELS:-.whl} site=${SITE:-/tmp/site}
export PYTHONPATH=$site:$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
# compiled layers outlast a call where the machine does
export TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-/tmp/inductor}

if compgen -G "$wheels/*.whl" > /dev/null && [ ! -d "$site/openmm" ]; then
  "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$wheels"/*.whl
fi
# OpenMM's CUDA platform needs libnvrtc and libcufft, which lie among torch's own libraries
torch=$("$python" -c 'import os, torch; print(os.path.dirname(torch.__file__))')
for folder in "$torch"/../nvidia/*/lib; do
  if [ -d "$folder" ]; then LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}; fi
done
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}
exec "$python" "$@"
