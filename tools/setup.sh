#!/bin/sh
# setup.sh PYTHON VENV: make a virtual environment and install this checkout in it, at the versions of constraints.txt.
set -eu
cd "$(dirname "$0")/.."
python=$1 venv=$2

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    echo "setup: $python is $("$python" -V 2>&1), and orch needs Python 3.10 or newer: make PYTHON=python3.11 …" >&2
    exit 1
}
# Debian and Ubuntu ship venv apart from Python.
"$python" -c 'import ensurepip' 2>/dev/null || tools/debian.sh venv
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
echo "setup: installs into $venv what constraints.txt pins, torch among it; the first time takes minutes"
pip install -qq --upgrade pip

# Without a GPU, torch's CPU build saves some 4 GB. If the index at hand would bring the CUDA build, ask PyTorch's own.
torch_index=${TORCH_INDEX:-}
if [ -z "$torch_index" ] && ! command -v nvidia-smi >/dev/null 2>&1 &&
    pip install -q --dry-run --report - -c constraints.txt torch 2>/dev/null | grep -q '"name": "nvidia-'; then
    torch_index=https://download.pytorch.org/whl/cpu
fi
if [ -n "$torch_index" ]; then
    echo "setup: torch comes from $torch_index (no GPU here; TORCH_INDEX overrides)"
    pip install -qq -c constraints.txt --extra-index-url "$torch_index" "torch==$(sed -n 's/^torch==//p' constraints.txt)+cpu"
fi
pip install -qq -c constraints.txt -e '.[test,lint]'
echo "setup: $("$venv/bin/orch" --version) is in $venv/bin"
