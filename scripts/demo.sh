#!/usr/bin/env bash
# The whole of it on a bare machine with python3: set up, draw the demo data, train, translate, show the pictures.
#
#     bash scripts/demo.sh
#     ITERATIONS=8000 bash scripts/demo.sh     # goes on from what is there: the longer, the better
#
# Writes .venv, datasets/demo_drawn_128, outputs/demo_drawn_small, logs/demo_drawn_small and outputs/demo. The default
# takes about ten minutes of training on one CPU core; Ctrl-C keeps what was trained.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ITERATIONS=${ITERATIONS:-2000}
[[ "$ITERATIONS" =~ ^[1-9][0-9]*$ ]] || fail "ITERATIONS='$ITERATIONS': a whole number of at least 1 is wanted"
# At 64x64 a second thread gains little, and where other programs share the cores, threads that wait for each other
# make an iteration several times slower.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

config=configs/demo_drawn_small.yaml
run=outputs/demo_drawn_small

ensure_venv requirements.txt
"$PY" scripts/draw_demo_data.py --output datasets/demo_drawn_128 --size 128 --train 1000 --test 100
"$PY" train.py --config $config --max_iter "$ITERATIONS" --seed 0 --resume

# The newest checkpoint, which may be of a longer run than this one.
checkpoint=$(find $run/checkpoints -name 'gen_*.pt' | sort | tail -n 1)
translate() {   # translate FOLDER A2B INPUT [ARGUMENT...]
    "$PY" test.py --config $config --checkpoint "$checkpoint" --output_folder "outputs/demo/$1" --a2b "$2" \
        --input "inputs/$3.jpg" "${@:4}"
}
for kind in shoe handbag; do
    name=edges2${kind}s
    translate "${kind}_sampled" 1 "${name}_edge" --num_style 6
    translate "${kind}_guided" 1 "${name}_edge" --style "inputs/${name}_$kind.jpg"
    translate "${kind}_to_edge_sampled" 0 "${name}_$kind" --num_style 6
    translate "${kind}_to_edge_guided" 0 "${name}_$kind" --style "inputs/${name}_edge_2.jpg"
done

# A row: the input, its sampled outputs, the example, the output with the example's style.
rows=()
for kind in shoe handbag; do
    name=inputs/edges2${kind}s out=outputs/demo/$kind
    rows+=(--row "${name}_edge.jpg" "${out}_sampled" "${name}_$kind.jpg" "${out}_guided")
    rows+=(--row "${name}_$kind.jpg" "${out}_to_edge_sampled" "${name}_edge_2.jpg" "${out}_to_edge_guided")
done
"$PY" scripts/make_sheet.py --output outputs/demo/sheet.png "${rows[@]}"

say ""
say "All outputs on one sheet (input, six sampled styles, an example image, the output with its style):"
say "  $ROOT/outputs/demo/sheet.png"
say "The same, file by file:   $ROOT/outputs/demo/*/output*.jpg"
say "How training went:        $ROOT/$run/index.html"
