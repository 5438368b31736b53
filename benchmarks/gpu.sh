#!/usr/bin/env bash
# Everything that wants a GPU, in one call of six minutes at most, the most important first: does a GPU compute what the
# CPU does, how quick is an iteration in each precision, compiled, as a CUDA graph; translation; a real training; and
# where the time goes. Each part writes its JSON into $OUT before the next one begins.
#
#     OUT=benchmarks/results/MACHINE bash benchmarks/gpu.sh
#     REHEARSE=1 OUT=/tmp/rehearsal bash benchmarks/gpu.sh    # all of it on a CPU, at tiny sizes
#     PARTS="devices batch-1" bash benchmarks/gpu.sh          # some of it
set -uo pipefail   # not -e: a part that fails is said, and the others go on
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
OUT=${OUT:-benchmarks/results/gpu}
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
PARTS=${PARTS:-devices batch-1 batch-16 training translation profile}
REHEARSE=${REHEARSE:-}
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)
export TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-${TMPDIR:-/tmp}/munit-inductor}   # kept between the parts

failed=0
part() {   # part NAME SECONDS COMMAND...: runs it within its time; a failure is counted
    local name=$1 limit=$2 start=$SECONDS
    shift 2
    case " $PARTS " in *" $name "*) ;; *) return ;; esac
    printf '\n== %s\n' "$name"
    timeout "$limit" "$@" || { printf '%s failed or took over %s s (status %s)\n' "$name" "$limit" "$?"; failed=1; }
    printf '(%s: %s s)\n' "$name" "$((SECONDS - start))"
}

training() {   # edges2shirts for some iterations from disk, one operation at a time and as a graph; then resumed
    local graph iterations
    folder=$(mktemp -d) || return
    trap 'rm -rf "$folder"' EXIT
    for graph in cuda_graphs no-cuda_graphs; do
        iterations=$([ "$graph" = cuda_graphs ] && echo 400 || echo 40)   # one by one takes ten times as long
        [ -z "$REHEARSE" ] || iterations=8
        "$PYTHON" train.py --config "$TRAINED" --output_path "$folder/$graph" --seed 1 --precision bf16 "--$graph" \
            --max_iter "$iterations" > "$OUT/training-$graph.txt" 2> "$folder/stderr" \
            || { tail -n 5 "$folder/stderr"; return 1; }
        "$PYTHON" train.py --config "$TRAINED" --output_path "$folder/$graph" --resume --precision bf16 "--$graph" \
            --max_iter "$((iterations * 3 / 2))" >> "$OUT/training-$graph.txt" 2> "$folder/stderr" \
            || { tail -n 5 "$folder/stderr"; return 1; }
        grep -E 's/it|waiting|diverge' "$OUT/training-$graph.txt"
    done
}

if [ -n "$REHEARSE" ]; then
    device=cpu TRAINED=configs/edges2shirts64_folder.yaml
    batch_1=(64,4,1,fp32,no 64,4,1,bf16,no) batch_16=(64,4,2,bf16,no)
    shape=(--size 64 --dim 4 --images 2 --styles 2 --repeats 1)
    profiled=64,4,1,bf16,no repeats=1
else
    "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' \
        || { echo "no CUDA device that PyTorch can use" >&2; exit 2; }
    device=cuda TRAINED=configs/edges2shirts_folder.yaml
    batch_1=(256,64,1,bf16,graphs 256,64,1,tf32,graphs 256,64,1,fp32,no 256,64,1,bf16,no)
    batch_16=(256,64,16,bf16,compile+graphs 256,64,16,bf16,graphs 256,64,4,bf16,graphs)
    shape=(--images 32 --styles 10 --repeats 2)
    profiled=256,64,1,bf16,no repeats=7   # without a graph: kernels under the operations that launch them
fi
part devices 45 "$PYTHON" benchmarks/devices.py --device "$device" --output "$OUT/devices.json"
part batch-1 75 "$PYTHON" benchmarks/speed.py --device "$device" --repeats "$repeats" --output "$OUT/speed-batch-1.json" \
    --cases "${batch_1[@]}"
part batch-16 135 "$PYTHON" benchmarks/speed.py --device "$device" --repeats "$repeats" \
    --output "$OUT/speed-batch-16.json" --cases "${batch_16[@]}"
export -f training
export PYTHON OUT TRAINED REHEARSE
part training 50 bash -c training
part translation 25 "$PYTHON" benchmarks/translation.py --device "$device" "${shape[@]}" --precision bf16 --batch_size 16 \
    --output "$OUT/translation.json"
part profile 30 "$PYTHON" benchmarks/profile_step.py --device "$device" --case "$profiled" --output "$OUT/profile.txt"
exit "$failed"
