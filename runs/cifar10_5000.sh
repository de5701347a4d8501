#!/usr/bin/env bash
# 5,000 CIFAR-10 images (even file numbers), 32x32, 48 channels: RG-GAN and the same program without pruning.
# docs/results.md, "5,000 CIFAR-10 images". The same command continues a stopped run.
#
#   bash runs/cifar10_5000.sh CIFAR10_FOLDER [OUTDIR]      # CIFAR10_FOLDER/train/<class>/NNNN.jpg
set -euo pipefail
data=${1:?give the folder that holds train/ and test/}
outdir=${2:-runs/cifar10-5000}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # both arms at once, one core each
for rule in threshold none; do
    python -m rggan train "$data/train" --network sngan --pattern '*[02468].jpg' --max-images 5000 --resolution 32 \
        --mirror --width-g 48 --width-d 48 --kimg 800 --snap 20 --seed 0 --rule "$rule" --outdir "$outdir" &
    sleep 30 # so that the run folders are numbered in this order
done
wait
