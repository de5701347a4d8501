#!/usr/bin/env bash
# The families study of docs/results.md: SNGAN, StyleGAN2 and FastGAN, dense and RG-GAN, on CIFAR-10 and a hundred faces,
# three seeds. Two workers, one core each; the same command continues what was stopped. Two hours on two cores.
#
#   bash runs/families.sh CIFAR10_FOLDER FACES_FOLDER OUT    # CIFAR10_FOLDER/{train,test}/<class>/NNNN.jpg
set -euo pipefail
cifar=$1 faces=$2 out=$3
python=${PYTHON:-.venv/bin/python}
study=(families --cifar "$cifar" --pictures "$faces" --out "$out" --rows studies/results/families.jsonl)
$python -m studies work "${study[@]}" cifar faces &
$python -m studies work "${study[@]}" faces cifar &
wait
$python -m studies merge "${study[@]}"
$python -m studies.families_report
