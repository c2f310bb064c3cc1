#!/bin/sh
# Run as root by both recipes, in a folder with requirements.lock, envs/ and the package: installs the locked packages and
# the package. Where the wheel of torch asks for CUDA's libraries, these come in the versions of envs/study-cuda.yaml.
# TORCH_INDEX, if set, is the address of one more package index: PyTorch's own, for another build of torch.
set -eu
libraries=$(mktemp)
sed -n 's/^ *- \([A-Za-z0-9._-]*==.*\)$/\1/p' envs/study-cuda.yaml > "$libraries"
python -m pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
  --constraint "$libraries" --requirement requirements.lock
python -m pip install --no-cache-dir --no-deps --no-build-isolation .
rm "$libraries"
