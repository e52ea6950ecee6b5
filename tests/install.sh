#!/usr/bin/env bash
# Installs a wheel or an sdist into a fresh environment where no compiler is found, and runs what must
# hold of an installed package: tests/install.sh {kernels|pure} FILE [PYTHON]
set -euo pipefail
expected=$1
file=$(realpath "$2")
python=${3:-python3}
root=$(cd "$(dirname "$0")/.." && pwd)
place=$root/build/installed-$expected

rm -rf "$place"
"$python" -m venv "$place"
cd "$place"  # away from the sources
bin/python -m pip install -q -c "$root/constraints.txt" torch 'pytest>=8' numpy
cp "$root/tests/test_installed.py" .
export PATH=$place/bin CXX=none LOSSMATRIX_CACHE=$place/kernels LOSSMATRIX_EXPECT=$expected
bin/python -m pip install -q --no-cache-dir "$file"
bin/python -c 'import lossmatrix; lossmatrix.show_versions()'
exec bin/python -m pytest -q -p no:cacheprovider test_installed.py
