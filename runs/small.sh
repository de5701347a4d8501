#!/usr/bin/env bash
# docs/small.md: a generator whole, in the sizes of its ladder, trained on as long as they are, and smaller dense ones that
# were trained from the start. For CPUs with bf16 units; a seed takes about half an hour of one core. The same command goes
# on where it was stopped.
#
#   bash runs/small.sh sngan CIFAR10_FOLDER OUT [SEED...]     # CIFAR10_FOLDER/train/<class>/NNNN.jpg and test/
#   bash runs/small.sh fastgan FACES_FOLDER OUT [SEED...]
set -euo pipefail
family=$1 data=$2 out=$3
shift 3
rggan=${RGGAN:-.venv/bin/rggan}

case $family in
    sngan)
        train=("$data/train" --network sngan --resolution 32 --pattern '*[02468].jpg' --max-images 5000 --lr 4e-4)
        scores=(--reference "$data/test")
        width=${WIDTH:-128} width_d=${WIDTH_D:-64} kimg=${KIMG:-36} recover=${RECOVER:-6}
        ;;
    fastgan)
        train=("$data" --network fastgan --resolution 64 --channels rgb --z-dim 128 --lr 1e-3)
        scores=() # against the images of the run
        width=${WIDTH:-16} width_d=${WIDTH_D:-8} kimg=${KIMG:-8} recover=${RECOVER:-3}
        ;;
    *) echo "sngan or fastgan, not $family" >&2 && exit 2 ;;
esac
targets=(0.5 0.25 0.15)
longer=$((recover * ${#targets[@]})) # kimg that the last rung has trained more than the whole one
train+=(--rule none --width-d "$width_d" --batch 16 --ema 0.99 --mirror --aug diff --precision bf16 --score-samples 500)
scores+=(--samples "${SAMPLES:-1000}" --replicates 5)

dense() { # NAME SEED WIDTH KIMG [OPTION...]
    $rggan train "${train[@]}" --width-g "$3" --seed "$2" --kimg "$4" --snap $(($4 / 6)) --outdir "$out/$2/$1" "${@:5}"
    [ -s "$out/$2/$1/kid.json" ] ||
        $rggan evaluate "$out/$2/$1/latest" "${scores[@]}" --metrics kid --memorisation off --json >"$out/$2/$1/kid.json"
}

for seed in "${@:-0}"; do
    dense whole "$seed" "$width" "$kimg"
    dense "dense-$((width / 2))" "$seed" $((width / 2)) $((kimg + longer))
    dense longer "$seed" "$width" "$longer" --init "$(realpath "$out/$seed/whole/latest")"
    $rggan ladder "$out/$seed/whole/latest" --outdir "$out/$seed/ladder" --targets "${targets[@]}" --recover "$recover" "${scores[@]}"
done
