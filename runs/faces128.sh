#!/usr/bin/env bash
# A hundred faces (emoji) at 128x128 with FastGAN as `rggan train` chooses it on a CPU: docs/results.md, "A hundred faces at 128
# pixels". Half an hour on one core; the same command continues a stopped run.
#
#   bash runs/faces128.sh FACES_FOLDER OUT
set -euo pipefail
faces=${1:?give the folder of faces} out=${2:?give the folder for the run}
python=${PYTHON:-.venv/bin/python}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # one core
# A fifth of the length that it would choose, so an average that forgets sooner and fewer samples a score.
$python -m rggan train "$faces" --resolution 128 --network fastgan --width-g 16 --width-d 16 --batch 8 --aug diff \
    --target-g 0.5 --target-d 0.5 \
    --kimg 20 --snap 2 --mirror --score-samples 300 \
    --ema 0.995 --precision bf16 --seed 0 --outdir "$out"
run=$(ls -d "$out"/0*-128-fastgan-threshold | head -n 1)
$python -m rggan generate "$run" --seeds 0-19 --grid --outdir "$out/grid"
$python -m rggan generate "$run" --seeds 0-5 --walk 12 --fps 12 --outdir "$out/walk"
$python -m rggan evaluate "$run" --metrics kid --samples 2000 --replicates 1 --memorisation on
