#!/usr/bin/env bash
# The first study of docs/results.md: tuning, confirming, the checks of the paper's claims, tables and figures. Two workers,
# one core each; the same command continues what was stopped. About two hours on two cores.
#
#   bash runs/baselines.sh CIFAR10_FOLDER OUT    # CIFAR10_FOLDER/{train,test}/<class>/NNNN.jpg
set -euo pipefail
cifar=$1 out=$2
python=${PYTHON:-.venv/bin/python}
study=(baselines --cifar "$cifar" --out "$out" --rows studies/results/baselines.jsonl)
for worker in 1 2; do
    $python -m studies work "${study[@]}" 1 2a 2s &
done
wait
$python -m studies merge "${study[@]}"
$python -m studies.checks "$cifar" "$out"
$python -m studies.baselines_report
