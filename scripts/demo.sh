#!/usr/bin/env bash
# The whole of it on a bare machine with python3: set up, show what the model that comes along makes of the example
# pictures, then draw the demo data, train a model of your own, translate with it, show the pictures.
#
#     bash scripts/demo.sh
#     ITERATIONS=8000 bash scripts/demo.sh     # goes on from what is there: the longer, the better
#
# Writes .venv, datasets/demo_drawn_128, outputs/demo_edges2shoes_folder, logs/demo_edges2shoes_folder,
# outputs/demo_shipped and outputs/demo. The default takes ten to twenty minutes of training on one CPU core; Ctrl-C keeps
# what was trained.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ITERATIONS=${ITERATIONS:-2500}
[[ "$ITERATIONS" =~ ^[1-9][0-9]*$ ]] || fail "ITERATIONS='$ITERATIONS': a whole number of at least 1 is wanted"
# At 64x64 a second thread gains little, and where other programs share the cores, threads that wait for each other
# make an iteration several times slower.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

ensure_venv requirements.txt

# show CONFIG CHECKPOINT FOLDER: translate the example pictures, and lay them out as FOLDER/sheet.png.
show() {
    local kind name rows=()
    translate() {   # translate NAME A2B INPUT [ARGUMENT...]
        "$PY" test.py --config "$1" --checkpoint "$2" --output_folder "$3/$4" --a2b "$5" --input "inputs/$6.jpg" "${@:7}"
    }
    # A row: the input, its sampled outputs, the example, the output with the example's style.
    for kind in shoe handbag; do
        name=edges2${kind}s
        translate "$@" "${kind}_sampled" 1 "${name}_edge" --num_style 6
        translate "$@" "${kind}_guided" 1 "${name}_edge" --style "inputs/${name}_$kind.jpg"
        translate "$@" "${kind}_to_edge_sampled" 0 "${name}_$kind" --num_style 6
        translate "$@" "${kind}_to_edge_guided" 0 "${name}_$kind" --style "inputs/${name}_edge_2.jpg"
        rows+=(--row "inputs/${name}_edge.jpg" "$3/${kind}_sampled" "inputs/${name}_$kind.jpg" "$3/${kind}_guided")
        rows+=(--row "inputs/${name}_$kind.jpg" "$3/${kind}_to_edge_sampled" "inputs/${name}_edge_2.jpg"
               "$3/${kind}_to_edge_guided")
    done
    "$PY" scripts/make_sheet.py --output "$3/sheet.png" "${rows[@]}"
}

config=configs/demo_edges2shoes_folder.yaml
show $config models/demo_edges2shoes.pt outputs/demo_shipped
say ""
say "What the model that comes along makes of the example pictures (input, six sampled styles, an example image, the"
say "output with its style):"
say "  $ROOT/outputs/demo_shipped/sheet.png"
say "Now a model of your own, from the beginning:"
say ""

run=outputs/demo_edges2shoes_folder
"$PY" scripts/draw_demo_data.py --output datasets/demo_drawn_128 --size 128 --train 1000 --test 100
"$PY" train.py --config $config --data_root datasets/demo_drawn_128 --max_iter "$ITERATIONS" --seed 0 --resume

# The newest checkpoint, which may be of a longer run than this one.
checkpoint=$(find $run/checkpoints -name 'ema_*.pt' | sort | tail -n 1)
show $config "$checkpoint" outputs/demo

say ""
say "Its outputs on one sheet, as above:"
say "  $ROOT/outputs/demo/sheet.png"
say "The same, file by file:   $ROOT/outputs/demo/*/output*.jpg"
say "How training went:        $ROOT/$run/index.html"
