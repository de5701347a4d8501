#!/usr/bin/env bash
# A class-conditional run: 5,000 CIFAR-10 images (even file numbers), SNGAN with 48 channels, half of the weights of both
# networks as its target. docs/results.md, "CIFAR-10, class by class". The same command continues a stopped run.
#
#   bash runs/cifar10_classes.sh CIFAR10_FOLDER OUT      # CIFAR10_FOLDER/{train,test}/<class>/NNNN.jpg
set -euo pipefail
cifar=${1:?give the folder that holds train/ and test/} out=${2:?give the folder for the run}
python=${PYTHON:-.venv/bin/python}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # one core
$python -m rggan train "$cifar/train" --pattern '*[02468].jpg' --max-images 5000 --resolution 32 --cond --mirror \
    --network sngan --width-g 48 --width-d 48 --lr 0.001 --batch 64 --aug diff --kimg 100 --snap 10 --ema 0.995 \
    --target-g 0.5 --target-d 0.5 --ramp 40 --fade 5 --dead-band 0.05 --precision bf16 --seed 0 --outdir "$out"
run=$(ls -d "$out"/0*-32-sngan-threshold | head -n 1)
$python -m rggan generate "$run" --seeds 0-11 --grid --per-class --outdir "$out/classes"
$python -m rggan evaluate "$run" --reference "$cifar/test" --metrics fd kid --samples 5000 --replicates 1 --memorisation on
