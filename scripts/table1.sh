#!/usr/bin/env bash
# The paper's table 1 on two folders of images: trains every row, evaluates it, writes the table, a sheet and curves.
#
#     bash scripts/table1.sh                              # drawn data at 64x64: about two hours on one CPU core
#     bash scripts/table1.sh configs/table1/tiny.yaml     # to try it: two to three minutes, and figures that mean nothing
#     bash scripts/table1.sh my_budget.yaml               # rows, sizes, iterations, seeds and data of one's own
#
# Ctrl-C and SIGTERM save what is being trained; the same line goes on from there, and passes over what is done.
# Writes the budget's output folder (table.md, table.json, sheet.png, curves.png), and its data where it draws them.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# At 64x64 a second thread gains little, and threads that wait for each other on shared cores lose much.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

ensure_venv requirements.txt
exec "$PY" scripts/table1.py --budget "${1:-configs/table1/demo.yaml}" "${@:2}"
