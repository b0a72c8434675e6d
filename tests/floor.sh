#!/usr/bin/env bash
# Run the tests that depend on transformers with the oldest version that is supported.
# usage, in the environment of the project: tests/floor.sh [FOLDER [PYTEST ARGUMENT...]]
# That version goes into FOLDER, before everything else on the path; what is there is used again.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/.*"transformers>=\([0-9.]*\)".*/\1/p' pyproject.toml).0
folder=${1:-$(mktemp -d)}
shift || true
if [ $# = 0 ]; then
    set -- tests/architectures tests/unit/quantised
fi

if ! [ -d "$folder/transformers-$version.dist-info" ]; then
    python -m pip install --quiet --disable-pip-version-check --target "$folder" \
        "transformers==$version"
fi
export PYTHONPATH="$folder:$PWD"
python -c 'import transformers; print("transformers", transformers.__version__)'
exec python -m pytest -p no:cacheprovider "$@"
