#!/usr/bin/env bash
# The demo: a generator of handwritten digits from 1,797 real ones, then an independent look at what it makes.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
$bin/rggan train digits --network sngan --outdir demo --kimg 300 --snap 25 --width-g 48 --width-d 48 --aug none --d-steps 1 --lr 4e-4 \
    --networks both
run=$(ls -d demo/[0-9]*-digits-* | tail -n 1)
$bin/rggan generate "$run" --seeds 0-99 --grid --outdir "$run/samples"
$bin/python -m studies.check_digits "$run"
echo
echo "Pictures:  $run/samples/grid.png (100 generated digits), $run/reals.png, $run/progress.png"
echo "Use it:    .venv/bin/rggan generate $run --seeds 0-9 --outdir my-digits"
echo "Your own:  .venv/bin/rggan train FOLDER_OF_PICTURES"
