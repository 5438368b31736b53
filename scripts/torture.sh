#!/usr/bin/env bash
# Kill, starve, fuzz and watch training runs, damage their snapshots and spoil their iterations, minutes to hours long, and
# print tables of what came of it:
#
#     bash scripts/torture.sh [--kills 200] [--fuzz 1000] [--soak 3000] [--seed 0] [others of kill_and_resume.py]
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv requirements/dev.txt
status=0
"$PY" tests/stress/damage.py || status=1
"$PY" tests/stress/kill_and_resume.py "$@" || status=$?
exit "$status"
