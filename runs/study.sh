#!/usr/bin/env bash
# The study of docs/results.md: tuning, confirming, the checks of the paper's words, tables and pictures. Two workers, one
# core each; the same command continues what was stopped. About two hours on two cores.
#
#   bash runs/study.sh CIFAR10_FOLDER OUT    # CIFAR10_FOLDER/{train,test}/<class>/NNNN.jpg
set -euo pipefail
cifar=$1 out=$2
python=${PYTHON:-.venv/bin/python}
for worker in 1 2; do
    $python runs/study.py "$cifar" "$out" work 1 2a 2s &
done
wait
$python runs/checks.py "$cifar" "$out"
$python runs/study_report.py
