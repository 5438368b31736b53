#!/usr/bin/env bash
# Train MUNIT on edges2handbags (A: edges, B: photos): get the data, check it, split the pairs, train. Every step
# that is done already is skipped; a download that was cut short is continued.
#
#     scripts/demo_train_edges2handbags.sh [train.py's flags, such as --resume]
#
# Reads    configs/edges2handbags_folder.yaml and, once, about 8 GB from the address below
# Writes   datasets/edges2handbags.tar.gz, datasets/edges2handbags/, then what train.py writes:
#          outputs/edges2handbags_folder, logs/edges2handbags_folder
# Change   URL=address   COUNTS='138567 200' (training and validation pairs)   TRAIN=command   see also common.sh

set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv requirements.txt
read_counts 2 '138567 200'
fetch_pairs edges2handbags \
    "${URL:-https://efrosgans.eecs.berkeley.edu/pix2pix/datasets/edges2handbags.tar.gz}" \
    "${COUNTS% *}" "${COUNTS#* }"
train configs/edges2handbags_folder.yaml "$@"
