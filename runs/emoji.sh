#!/usr/bin/env bash
# Transparent pictures and rectangles from end to end: a hundred emoji faces as RGBA squares, and all other emoji as
# RGBA rectangles. Usage: runs/emoji.sh FACES EMOJI OUT (folders of PNGs with transparency, and where the runs go).
set -euo pipefail
faces=$1 emoji=$2 out=$3
small=(--network sngan --width-g 48 --width-d 48 --snap 20 --channels rgba --networks both --outdir "$out")
.venv/bin/rggan train "$faces" --resolution 64 --mirror --kimg 100 "${small[@]}"
.venv/bin/rggan train "$emoji" --resolution 48x64 --resize fit --kimg 60 "${small[@]}"
