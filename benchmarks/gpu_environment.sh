# Read with "source" by gpu_machine.sh and gpu_call.sh, in the repository, with python, wheels and site set: the wheels that
# a machine that reaches no network is given, the package itself, and OpenMM's libraries.
export PYTHONPATH=$site:$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
if compgen -G "$wheels/*.whl" > /dev/null && [ ! -d "$site/openmm" ]; then
  "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$wheels"/*.whl || exit 1
fi
# OpenMM's CUDA platform needs libnvrtc and libcufft, which lie among torch's own libraries
torch=$("$python" -c 'import os, torch; print(os.path.dirname(torch.__file__))')
for folder in "$torch"/../nvidia/*/lib; do
  if [ -d "$folder" ]; then LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}; fi
done
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}
