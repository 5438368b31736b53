#!/usr/bin/env bash
# Kill, starve, fuzz and watch training runs, minutes to hours long, and print a table of what came of it:
#
#     bash scripts/torture.sh [--kills 200] [--fuzz 1000] [--soak 3000] [--seed 0] [other arguments of torture.py]
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv requirements/dev.txt
"$PY" tests/stress/kill_and_resume.py "$@"
