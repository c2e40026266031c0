#!/usr/bin/env bash
# One slice of pretraining on a machine that reaches no network and is soon given back: `mdet train` goes on where an
# earlier slice stopped, stops in time with a checkpoint, and leaves what the next one needs in files of 15 MiB. How to
# call it, and what to carry: docs/gpu.md.
#
#   CONFIG   what to train [configs/mdet-gfn2-small.train.yaml]
#   FROM     folder with the files of the slice before; not needed where runs/NAME is still there []
#   OUT      folder for what comes back: run.tar.* and, after the last slice, model.tar.*; anew at each call [gpu-results]
#   MINUTES  for all of it [9]
#   SPARE    seconds of them kept for the files [30]
#   FOLDER   where runs/NAME and models/NAME are [this repository]
#   WHEELS   folder of wheels that this machine lacks; training needs ase's only [.whl]
#   SITE     folder to install into [/tmp/site]
# Ends with status 0 when the model is written, 75 when another slice is to follow, otherwise with that of the training.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} config=${CONFIG:-configs/mdet-gfn2-small.train.yaml}
wheels=${WHEELS:-.whl} site=${SITE:-/tmp/site} out=${OUT:-gpu-results} folder=${FOLDER:-.}
export PYTHONPATH=$site:$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
# compiled layers outlast a slice where the machine does
export TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-/tmp/inductor}

if ! "$python" -c 'import ase' 2> /dev/null; then
  "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$wheels"/ase-*.whl
fi
name=$("$python" -c 'import sys, yaml; print(yaml.safe_load(open(sys.argv[1]))["name"])' "$config")
run=$folder/runs/$name model=$folder/models/$name
if [ -e "$model" ]; then
  echo "error: $model exists and is not overwritten; move it away or choose another name" >&2
  exit 2
fi
if [ ! -e "$run" ] && [ -n "${FROM:-}" ]; then
  mkdir -p "$folder/runs"
  (cd "$FROM" && sha256sum --quiet -c run.sha256) || { echo "error: the files in $FROM are damaged or incomplete" >&2; exit 2; }
  cat "$FROM"/run.tar.* | tar -x -C "$folder/runs"
fi

status=0
timeout --signal=TERM --kill-after=40 $((60 * ${MINUTES:-9} - SECONDS - ${SPARE:-30})) \
  "$python" -m mdet_openmm.cli train "$config" --restart --output "$model" --run-folder "$run" || status=$?

# pack FOLDER FILE...: into $out/run.tar.aa, ... or $out/model.tar.aa, ...
pack() {
  local what=$1; shift
  rm -f "$out/$what".tar.* "$out/$what.sha256"
  tar -c "$@" | split -b 15M - "$out/$what.tar."
  (cd "$out" && sha256sum "$what".tar.* > "$what.sha256")
}
mkdir -p "$out"
if [ -d "$model" ]; then
  rm -f "$out"/run.*
  pack model -C "$folder/models" "$name"
  cp "$run/loss.csv" "$out/"
  exit "$status"
fi
newest=$(ls -t "$run"/checkpoints/step*.ckpt 2> /dev/null | head -1) || true
if [ -z "$newest" ]; then
  echo "no checkpoint was written: give this more MINUTES" >&2
else
  pack run -C "$folder/runs" "$name/config.yaml" "$name/loss.csv" "$name/checkpoints/$(basename "$newest")"
fi
tail -n 1 "$run/loss.csv" 2> /dev/null || true
# 124: stopped in time with a checkpoint; 137: it had to be killed, and what counts is the checkpoint before
case $status in 124 | 130 | 137) exit 75 ;; *) exit "$status" ;; esac
