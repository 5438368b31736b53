#!/usr/bin/env bash
# Everything that wants a GPU, in one call of under ten minutes: does a GPU compute what the CPU does, how quick are
# training and translation in each precision, compiled or not, and where does the time go. Writes JSON into $OUT.
#
#     OUT=benchmarks/results/MACHINE bash benchmarks/gpu.sh
#     SECONDS_EACH=60 PYTHON=python3 bash benchmarks/gpu.sh
set -uo pipefail   # not -e: a part that fails is said, and the others go on
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
OUT=${OUT:-benchmarks/results/gpu}
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
SECONDS_EACH=${SECONDS_EACH:-110}
mkdir -p "$OUT"

failed=0
part() {   # part NAME COMMAND...: runs it within its time; a failure is counted
    local name=$1 start=$SECONDS
    shift
    printf '\n== %s\n' "$name"
    timeout "$SECONDS_EACH" "$@" \
        || { printf '%s failed or took over %s s (status %s)\n' "$name" "$SECONDS_EACH" "$?"; failed=1; }
    printf '(%s: %s s)\n' "$name" "$((SECONDS - start))"
}

"$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' \
    || { echo "no CUDA device that PyTorch can use" >&2; exit 2; }
part devices "$PYTHON" benchmarks/devices.py --output "$OUT/devices.json"
part "batch 1" "$PYTHON" benchmarks/speed.py --repeats 10 --output "$OUT/speed-batch-1.json" --cases \
    256,64,1,fp32,no 256,64,1,tf32,no 256,64,1,bf16,no 256,64,1,bf16,compile 256,64,1,bf16,graphs
part "batch 16" "$PYTHON" benchmarks/speed.py --repeats 5 --output "$OUT/speed-batch-16.json" --cases \
    256,64,16,fp32,no 256,64,16,bf16,no 256,64,16,bf16,compile
part translation "$PYTHON" benchmarks/translation.py --images 64 --styles 10 --repeats 3 --precision bf16 --batch_size 16 \
    --output "$OUT/translation.json"
part profile "$PYTHON" benchmarks/profile_step.py --case 256,64,1,bf16,compile --output "$OUT/profile.txt"
exit "$failed"
