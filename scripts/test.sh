#!/usr/bin/env bash
# Set everything up on a bare machine with python3, and run the tests:
#
#     bash scripts/test.sh [pytest arguments]
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv requirements/dev.txt
"$PY" -m pytest "$@"
