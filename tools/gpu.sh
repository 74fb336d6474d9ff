#!/usr/bin/env bash
# The tests of a second device, then every notebook, on a machine with a GPU, with the torch that it has. By hand: tools/gpu.sh
# PYTHON=... picks the interpreter whose torch sees the GPU. Only what it lacks is installed, beside it, in .venv-gpu.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"

"$python" -c '
import sys, torch
if not torch.cuda.is_available():
    sys.exit(f"torch {torch.__version__} sees no GPU here")
print("torch", torch.__version__, "on", torch.cuda.get_device_name())'

if ! "$python" -c 'import captum, course_lib, nbval, playwright, pytest_timeout, xdist, yaml' 2>/dev/null; then
    "$python" -m venv --system-site-packages .venv-gpu
    .venv-gpu/bin/python -m pip install --quiet --upgrade-strategy only-if-needed --editable '.[test]'
    python=.venv-gpu/bin/python
fi

"$python" -m pytest tests/test_front_door.py -k "second_device or not_mixed"
"$python" -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout 600 -n 2 --dist loadfile book/*.ipynb
