#!/usr/bin/env bash
# The capacity study of docs/results.md: tuning, claims, controls and pilots, tables and figures. One worker, one core; the
# same command continues what was stopped, and a second one at the same time takes other jobs.
#
#   bash runs/capacity.sh CIFAR10_FOLDER OUT    # CIFAR10_FOLDER/{train,test}/<class>/NNNN.jpg
set -euo pipefail
cifar=$1 out=$2
python=${PYTHON:-.venv/bin/python}
study=(capacity --cifar "$cifar" --out "$out" --rows studies/results/capacity.jsonl)
$python -m studies work "${study[@]}" tune a controls d e pilot longer
$python -m studies merge "${study[@]}"
$python -m studies.capacity_report
