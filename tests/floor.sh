#!/usr/bin/env bash
# Run the tests that depend on transformers with the oldest version that is supported.
# usage: tests/floor.sh [VERSION] [FOLDER]; FOLDER keeps the environment for the next run.
set -euo pipefail
cd "$(dirname "$0")/.."

oldest=$(sed -n 's/.*"transformers>=\([0-9.]*\)".*/\1/p' pyproject.toml)
version=${1:-$oldest.0}
folder=${2:-$(mktemp -d)}
python=${PYTHON:-python3}

if [ ! -x "$folder/bin/python" ]; then
    "$python" -m venv "$folder"
fi
"$folder/bin/pip" install --quiet --disable-pip-version-check -e '.[test]' "transformers==$version"
"$folder/bin/python" -c 'import transformers; print("transformers", transformers.__version__)'
exec "$folder/bin/python" -m pytest -q -p no:cacheprovider \
    tests/architectures tests/unit/test_quantised*.py
