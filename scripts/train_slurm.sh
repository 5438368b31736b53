#!/usr/bin/env bash
# Train on several machines of a Slurm cluster, one process a GPU. Submit it from the project's root; what follows the
# script's name goes to train.py:
#
#     sbatch --nodes 2 --gpus-per-node 4 scripts/train_slurm.sh --config configs/edges2shoes_folder.yaml
#
# N processes at batch_size b do what one does at N·b. --output_path must lie on a file system that all nodes share.
# Two minutes before its time is up, or when it is pre-empted, the run saves and ends, and is queued again: --resume
# goes on from the newest whole snapshot, or starts where there is none.
#
#SBATCH --job-name=munit
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=1
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

# Slurm runs a copy of this file from a folder of its own.
cd "${SLURM_SUBMIT_DIR:?submit this with sbatch from the root of the project}"
. scripts/common.sh
ensure_venv requirements.txt

MASTER=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
PORT=${PORT:-$((20000 + SLURM_JOB_ID % 20000))}
PER_NODE=${SLURM_GPUS_ON_NODE:-1}
say "Training on $SLURM_JOB_NUM_NODES nodes with $PER_NODE processes each, meeting at $MASTER:$PORT"

# Slurm's signal reaches this shell alone. The steps get SIGTERM, which torchrun hands on to the processes.
stopped=
# shellcheck disable=SC2329   # called by the trap
requeue() {
    stopped=1
    scancel --signal=TERM "$SLURM_JOB_ID.0" || true
}
trap requeue USR1 TERM

srun --kill-on-bad-exit=1 "$PY" -m torch.distributed.run --nnodes "$SLURM_JOB_NUM_NODES" --nproc_per_node "$PER_NODE" \
    --rdzv_backend c10d --rdzv_id "$SLURM_JOB_ID" --rdzv_endpoint "$MASTER:$PORT" train.py --resume "$@" &
status=0
wait $! || status=$?
if [ -n "$stopped" ]; then
    wait || true   # the first wait ended with the signal, the run has not yet
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
exit "$status"
