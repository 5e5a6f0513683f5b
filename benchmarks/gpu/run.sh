#!/bin/sh
# Runs the GPU benchmarks on a machine without network, from the root of the repository:
#   sh benchmarks/gpu/run.sh STAGE... [options of python -m inarch_benchmarks.gpu]
# Installs the wheels that prepare.py brought (.wheels/) and this tree into a temporary folder, and nothing elsewhere.
set -eu
site=${INARCH_SITE:-${TMPDIR:-/tmp}/inarch-site}
python=${PYTHON:-python3}
install="$python -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade --target $site"
if [ ! -d "$site/liger_kernel" ]; then
    $install .wheels/*.whl
fi
export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
$install --no-build-isolation .
exec "$python" -m inarch_benchmarks.gpu "$@"
