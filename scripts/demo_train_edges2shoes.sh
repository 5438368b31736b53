#!/usr/bin/env bash
# Train MUNIT on edges2shoes (A: edges, B: photos): get the data, check it, split the pairs, train. Every step
# that is done already is skipped; a download that was cut short is continued.
#
#     scripts/demo_train_edges2shoes.sh [train.py's flags, such as --resume]
#
# Reads    configs/edges2shoes_folder.yaml and, once, about 2 GB from the address below
# Writes   datasets/edges2shoes.tar.gz, datasets/edges2shoes/, then what train.py writes:
#          outputs/edges2shoes_folder, logs/edges2shoes_folder
# Change   URL=address   COUNTS='49825 200' (training and validation pairs)   TRAIN=command   see also common.sh

set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv requirements.txt
read_counts 2 '49825 200'
fetch_pairs edges2shoes \
    "${URL:-https://efrosgans.eecs.berkeley.edu/pix2pix/datasets/edges2shoes.tar.gz}" \
    "${COUNTS% *}" "${COUNTS#* }"
train configs/edges2shoes_folder.yaml "$@"
