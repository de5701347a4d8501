#!/usr/bin/env bash
# What docs/evaluation.md shows: 500 CIFAR-10 images (another subset for each of four seeds), RG-GAN and dense, compared;
# a hundred emoji faces; extractors and statistics of one's own. The same command continues what was stopped.
#
#   bash runs/evaluation.sh CIFAR10_FOLDER FACES_FOLDER OUT    # CIFAR10_FOLDER/{train,test}/<class>/NNNN.jpg
set -euo pipefail
cifar=$1 faces=$2 out=$3
rggan=${RGGAN:-.venv/bin/rggan}
small=(--network sngan --width-g 48 --width-d 48 --snap 20 --mirror)
for seed in 0 1 2 3; do
    for rule in none threshold; do
        $rggan train "$cifar/train" --pattern '*[02468].jpg' --max-images 500 --resolution 32 --kimg 120 \
            "${small[@]}" --seed $seed --rule $rule --outdir "$out/cifar"
    done
done
$rggan train "$faces" --resolution 64 --kimg 100 "${small[@]}" --networks both --outdir "$out/faces"

run=$(ls -d "$out"/cifar/*-threshold | head -n 1)
face=$(ls -d "$out"/faces/*-threshold | head -n 1)
cat > "$out/mine.py" <<'PYTHON'
import torch.nn.functional as F

def thumbnail(images):
    """uint8 [N, 3, H, W] -> [N, 192]: what is left at 8x8."""
    return F.adaptive_avg_pool2d(images.float(), 8).flatten(1)
PYTHON

show() { # a command and what it prints
    local name=$1
    shift
    {
        echo "\$ rggan $*"
        PYTHONPATH=$out $rggan "$@"
    } | sed "s|$faces|faces100|g; s|$cifar|cifar|g; s|$out/||g" | tee "$out/$name.txt"
}
show run evaluate "$run" --reference "$cifar/test"
show all evaluate "$out"/cifar/*-none "$out"/cifar/*-threshold --reference "$cifar/test" --replicates 2 \
    --metrics fd kid --memorisation off
show fid compare "$out"/cifar/*-threshold -- "$out"/cifar/*-none
show kid compare "$out"/cifar/*-threshold -- "$out"/cifar/*-none --metric kid
show faces evaluate "$face" --samples 1000
show replay evaluate "$faces" --reference "$faces" --metrics kid --sheet "$out/replay.png"
show real evaluate "$cifar/test" --reference "$cifar/train"
show steering evaluate "$run" --reference "$cifar/test" --features steering --metrics fd --replicates 2 \
    --memorisation off --save-statistics "$out/cifar-test.npz"
show saved evaluate "$run" --reference "$out/cifar-test.npz" --features steering --replicates 2 --memorisation off
show mine evaluate "$face" --features mine:thumbnail --samples 200 --replicates 2 --memorisation off
show json evaluate "$run" --reference "$cifar/test" --metrics kid --samples 1000 --replicates 2 --memorisation off --json
# Refused, with exit code 2: the numbers of the first run are of another count now.
(
    rggan() { "${RGGAN:-.venv/bin/rggan}" "$@" 2>&1 && return 1 || test $? -eq 2; }
    rggan=rggan
    show refused compare "$out"/cifar/*-threshold -- "$out"/cifar/*-none --metric kid
)
