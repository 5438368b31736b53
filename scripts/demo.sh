#!/usr/bin/env bash
# Everything on a bare machine with python3: set up, show what the shipped model makes of outlines of shirts, then train a
# model of your own on the same photographs, translate with it, and show the pictures.
#
#     bash scripts/demo.sh
#     ITERATIONS=8000 bash scripts/demo.sh     # continues from what is there: the longer, the better
#
# Writes .venv, outputs/edges2shirts64_folder, logs/edges2shirts64_folder, outputs/demo_shipped and outputs/demo. The default
# takes about ten minutes of training on one CPU core; Ctrl-C keeps what was trained.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ITERATIONS=${ITERATIONS:-2000}
[[ "$ITERATIONS" =~ ^[1-9][0-9]*$ ]] || fail "ITERATIONS='$ITERATIONS': a whole number of at least 1 is wanted"
# At 64x64 a second thread gains little, and where other programs share the cores, threads that wait for each other
# make an iteration several times slower.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

ensure_venv requirements.txt

# show CONFIG CHECKPOINT FOLDER: translate the example outlines, and lay them out as FOLDER/sheet.png.
show() {
    local number rows=()
    translate() {   # translate FOLDER NUMBER ARGUMENT...
        "$PY" test.py --config "$config" --checkpoint "$checkpoint" --output_folder "$1" --a2b 1 \
            --input "inputs/edges2shirts_outline$2.png" "${@:3}"
    }
    local config=$1 checkpoint=$2 folder=$3
    # A row: the input, its sampled outputs, the example, the output with the example's style.
    for number in "" _2 _3 _4 _5; do
        translate "$folder/sampled$number" "$number" --num_style 6
        translate "$folder/guided$number" "$number" --style "inputs/edges2shirts_shirt$number.jpg"
        rows+=(--row "inputs/edges2shirts_outline$number.png" "$folder/sampled$number"
               "inputs/edges2shirts_shirt$number.jpg" "$folder/guided$number")
    done
    "$PY" scripts/make_sheet.py --output "$folder/sheet.png" "${rows[@]}"
}

show configs/edges2shirts_folder.yaml models/edges2shirts.pt outputs/demo_shipped
say ""
say "What the shipped model makes of the example outlines (input, six sampled styles, an example photograph, the output"
say "with its style):"
say "  $ROOT/outputs/demo_shipped/sheet.png"
say "Now a model of your own, from the beginning, on the photographs in datasets/edges2shirts, at 64×64:"
say ""

config=configs/edges2shirts64_folder.yaml   # at half the size, for minutes on a CPU
run=outputs/edges2shirts64_folder
"$PY" train.py --config $config --max_iter "$ITERATIONS" --seed 0 --resume

# The newest checkpoint, which may be of a longer run than this one.
checkpoint=$(find $run/checkpoints -name 'ema_*.pt' | sort | tail -n 1)
mkdir -p outputs/demo
# After so short a training, sampled styles are not yet those of photographs.
"$PY" scripts/match_styles.py --config $config --checkpoint "$checkpoint" --output outputs/demo/matched.pt
show $config outputs/demo/matched.pt outputs/demo

say ""
say "Its outputs on one sheet, as above:"
say "  $ROOT/outputs/demo/sheet.png"
say "The same, file by file:   $ROOT/outputs/demo/*/output*.jpg"
say "How training went:        $ROOT/$run/index.html"
