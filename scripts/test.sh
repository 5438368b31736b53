#!/usr/bin/env bash
# Set everything up on a bare machine with python3, and run the tests:
#
#     bash scripts/test.sh [pytest arguments]
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv requirements/dev.txt
# Two processes, a file of tests each at a time, with one thread of PyTorch each: more threads only wait for each other.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
"$PY" -m pytest --numprocesses 2 --dist loadfile "$@"
