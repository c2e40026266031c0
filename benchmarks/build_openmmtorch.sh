#!/usr/bin/env bash
# Builds openmm-torch for the torch and the Python of this machine, for measuring only: PyPI's build is for torch 2.9.
# Usage: build_openmmtorch.sh SOURCE.tar.gz SITE
#   SOURCE  git archive --format=tar.gz v1.5.1 of github.com/openmm/openmm-torch (MIT); never committed here
#   SITE    folder that openmm (8.6, with OpenMM-CUDA-13) and swig (4.4 or later, as openmm's own wrappers) were
#           installed into with pip --target; openmmtorch goes there too
# Needs g++, Python.h, and CUDA's headers, which come with torch's wheels. Nothing is compiled for a device: OpenMM
# does that when it runs.
set -euo pipefail
tarball=$(realpath "$1") site=$(realpath "$2") work=$(mktemp -d)
python=$(command -v "${PYTHON:-python3}")
if [ "${python:0:1}" != / ]; then python=$PWD/$python; fi
trap 'rm -rf "$work"' EXIT
tar -xzf "$tarball" -C "$work" && cd "$work"
export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}

torch=$("$python" -c 'import os, torch; print(os.path.dirname(torch.__file__))')
headers=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
suffix=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
abi=$("$python" -c 'import torch; print(int(torch._C._GLIBCXX_USE_CXX11_ABI))')
openmm=$site/OpenMM.libs plugins=$site/OpenMM.libs/lib/plugins
include=(-Iopenmmapi/include -Iserialization/include -I"$openmm/include" -I"$openmm/include/openmm/reference"
  -I"$torch/include" -I"$torch/include/torch/csrc/api/include" -I"$headers")
for folder in "$torch"/../nvidia/*/include /usr/local/cuda/include; do
  if [ -d "$folder" ]; then include+=(-I"$folder"); fi
done
build=(g++ -O2 -std=c++20 -fPIC -shared -w "-D_GLIBCXX_USE_CXX11_ABI=$abi" "${include[@]}")
link=(-L"$openmm/lib" -L"$plugins" -L"$torch/lib" -Wl,-rpath,"\$ORIGIN:\$ORIGIN/lib:$openmm/lib:$torch/lib"
  -lOpenMM -ltorch -ltorch_cpu -lc10)

# OpenMM compiles this kernel at run time; the plugin wants it as a string
{
  echo '#include "CudaTorchKernelSources.h"'
  printf 'const std::string TorchPlugin::CudaTorchKernelSources::torchForce = R"code(%s)code";\n' \
    "$(cat platforms/cuda/src/kernels/torchForce.cu)"
} > platforms/cuda/src/CudaTorchKernelSources.cpp
sed 's/@CUDA_FILE_DECLARATIONS@/static const std::string torchForce;/' platforms/cuda/src/CudaTorchKernelSources.h.in \
  > platforms/cuda/src/CudaTorchKernelSources.h

"${build[@]}" -DNN_BUILDING_SHARED_LIBRARY openmmapi/src/*.cpp serialization/src/*.cpp \
  -o "$openmm/lib/libOpenMMTorch.so" "${link[@]}"
"${build[@]}" -Iplatforms/reference/include -Iplatforms/reference/src platforms/reference/src/*.cpp \
  -o "$plugins/libOpenMMTorchReference.so" "${link[@]}" -lOpenMMTorch &
"${build[@]}" -Iplatforms/cuda/include -Iplatforms/cuda/src platforms/cuda/src/*.cpp \
  -o "$plugins/libOpenMMTorchCUDA.so" "${link[@]}" -lOpenMMTorch -lOpenMMCUDA -lc10_cuda -ltorch_cuda &
"$python" "$site/bin/swig" -w314,325,453 -python -c++ -I"$openmm/include" -Iopenmmapi/include -o wrapper.cpp -outdir "$site" python/openmmtorch.i
"${build[@]}" wrapper.cpp -o "$site/_openmmtorch$suffix" "${link[@]}" -lOpenMMTorch -ltorch_python
wait %1
wait %2
"$python" - << 'end'
import torch, openmm, openmmtorch

print("openmmtorch", openmmtorch.__file__, "for torch", torch.__version__)
print("\n".join(f for f in openmm.Platform.getPluginLoadFailures() if "Torch" in f))
end
