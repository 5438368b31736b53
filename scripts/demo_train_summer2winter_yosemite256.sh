#!/usr/bin/env bash
# Train MUNIT on photos of Yosemite (A: summer, B: winter): get the data, check it, train. Every step that is done
# already is skipped; a download that was cut short is continued.
#
#     scripts/demo_train_summer2winter_yosemite256.sh [train.py's flags, such as --resume]
#
# Reads    configs/summer2winter_yosemite256_folder.yaml and, once, about 130 MB from the address below
# Writes   datasets/summer2winter_yosemite.zip, datasets/summer2winter_yosemite256/, then what train.py writes:
#          outputs/summer2winter_yosemite256_folder, logs/summer2winter_yosemite256_folder
# Change   URL=address   COUNTS='1231 962 309 238' (trainA, trainB, testA, testB)   TRAIN=command   see also common.sh

set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv requirements.txt
read_counts 4 '1231 962 309 238'
read -r train_a train_b test_a test_b <<<"$COUNTS"
fetch_images "${URL:-https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/summer2winter_yosemite.zip}" \
    datasets/summer2winter_yosemite.zip datasets/summer2winter_yosemite256/summer2winter_yosemite \
    "trainA=$train_a" "trainB=$train_b" "testA=$test_a" "testB=$test_b"
train configs/summer2winter_yosemite256_folder.yaml "$@"
