#!/usr/bin/env bash
# Train tiny models with the real trainers and look at what has changed.
# usage: tests/training.sh [FOLDER [PYTEST ARGUMENT...]]
# A virtual environment with the extra `train` goes into FOLDER; what is there is used again.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-}
shift || true
if [ -z "$folder" ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
fi
if [ $# = 0 ]; then
    set -- tests/training
fi

if ! [ -x "$folder/bin/pytest" ]; then
    python3 -m venv "$folder"
    # As in .ci/run: the plain wheel for Linux brings 2.5 GB of CUDA.
    "$folder/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
    "$folder/bin/pip" install --quiet --disable-pip-version-check -e '.[test,train]'
fi
"$folder/bin/python" -c '
import accelerate, peft, transformers, trl
for package in (transformers, accelerate, trl, peft):
    print(package.__name__, package.__version__)'
"$folder/bin/python" -m pytest -p no:cacheprovider "$@"
