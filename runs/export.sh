#!/usr/bin/env bash
# What docs/export.md and docs/share.md show: a short run of FastGAN on a hundred faces, its page and its rounded files; and a
# pruned SNGAN of the digits in less room. A few minutes on a CPU core.
#
#   bash runs/export.sh FACES_FOLDER OUT
set -euo pipefail
faces=$1 out=$2
rggan=${RGGAN:-.venv/bin/rggan}
$rggan train "$faces" --network fastgan --rule none --resolution 64 --channels rgb --width-g 8 --width-d 8 --z-dim 128 --batch 16 \
    --lr 1e-3 --ema 0.995 --aug diff --mirror --precision bf16 --kimg 6 --snap 1 --score-samples 300 --seed 0 --outdir "$out/faces"
$rggan export "$out/faces/latest" --web "$out/page" --title "A hundred faces"
for weights in fp16 int8; do
    $rggan export "$out/faces/latest" --sparse "$out/faces-$weights" --weights $weights
done
$rggan train digits --network sngan --width-g 32 --width-d 32 --batch 32 --rule threshold --networks g --target-g 0.3 --schedule always \
    --ramp 1 --kimg 3 --seed 0 --outdir "$out/digits"
for weights in fp32 fp16 int8; do
    $rggan export "$out/digits/latest/last" --sparse "$out/digits-$weights" --weights $weights
done
