#!/usr/bin/env bash
# The projected study of docs/results.md: FastGAN's discriminator against the projected one, its heads dense, adaptive and
# static, on a hundred faces and on 1,000 CIFAR-10 images, three seeds. Two workers, one core each; the same command continues
# what was stopped. DATA: of some data sets only (faces64, faces128, cifar).
#
#   bash runs/projected.sh CIFAR10_FOLDER FACES_FOLDER OUT [DATA...]    # CIFAR10_FOLDER/{train,test}/<class>/NNNN.jpg
set -euo pipefail
cifar=$1 faces=$2 out=$3
python=${PYTHON:-.venv/bin/python}
study=(projected --cifar "$cifar" --pictures "$faces" --out "$out" --rows studies/results/projected.jsonl)
$python -m studies work "${study[@]}" "${@:4}" &
$python -m studies work "${study[@]}" "${@:4}" &
wait
$python -m studies merge "${study[@]}"
$python -m studies.projected_report --runs "$out"
