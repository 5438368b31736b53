#!/usr/bin/env bash
# Set everything up on a bare machine with python3, and run all tests:
#
#     bash scripts/test.sh [pytest arguments]
#
# A process for each core (-n N for another number). All tests of a file run in the same process, since they share what
# they trained. Each process has its own temporary folders, and servers take a free port.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv requirements/dev.txt
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}   # the cores are taken already
"$PY" -m pytest --numprocesses auto --dist loadfile "$@"
