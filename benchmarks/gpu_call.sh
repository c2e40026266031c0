#!/usr/bin/env bash
# One Python script on a machine that reaches no network, with the wheels that it is given, as gpu_machine.sh installs
# them: bash benchmarks/gpu_call.sh benchmarks/md17.py --minutes 9 ... (docs/gpu.md).
#
#   WHEELS   folder of wheels that this machine lacks [.whl]
#   SITE     folder to install into [/tmp/site]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} wheels=${WHEELS:-.whl} site=${SITE:-/tmp/site}
# compiled layers outlast a call where the machine does
export TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-/tmp/inductor}
source benchmarks/gpu_environment.sh
exec "$python" "$@"
