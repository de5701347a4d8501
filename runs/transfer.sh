#!/usr/bin/env bash
# The transfer study of docs/results.md: FastGAN on a hundred faces, from scratch, from a FastGAN of 1,333 emoji, and from it with
# D's first two blocks frozen, three seeds. Two workers, one core each; the same command continues what was stopped.
#
#   bash runs/transfer.sh CIFAR10_FOLDER EMOJI_FOLDER OUT    # EMOJI_FOLDER/{emoji,faces100}/*.png
set -euo pipefail
cifar=$1 emoji=$2 out=$3
python=${PYTHON:-.venv/bin/python}
study=(transfer --cifar "$cifar" --pictures "$emoji" --out "$out" --rows studies/results/transfer.jsonl)
for data in source faces; do # the faces' runs begin with those of the emoji
    $python -m studies work "${study[@]}" $data &
    $python -m studies work "${study[@]}" $data &
    wait
done
$python -m studies merge "${study[@]}"
$python -m studies.transfer_report
