#!/bin/sh
# lock.sh BIN: resolve what setup.py asks for, for every supported Python at once, and rewrite constraints.txt.
set -eu
cd "$(dirname "$0")/.."
bin=$1
"$bin/python" -m pip install -q uv
{
    echo "# The versions that are installed and tested: written by 'make lock', read by 'make setup'."
    echo "# torch pins its own CUDA packages, so they are not listed; its CPU and CUDA builds share one version."
    "$bin/uv" pip compile --quiet --universal --python-version 3.10 --no-annotate --no-header --extra test --extra lint setup.py |
        grep -vE '^(nvidia|cuda|triton|torch)[-=]'
    "$bin/python" -c 'import torch; print("torch==" + torch.__version__.partition("+")[0])'
} >constraints.txt.new
mv constraints.txt.new constraints.txt
