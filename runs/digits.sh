#!/usr/bin/env bash
# The demo: a generator of handwritten digits from 1,797 real ones, the page of its training and the film of it, then an
# independent look at what it makes.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
$bin/rggan train digits --network sngan --outdir demo --kimg 260 --snap 20 --width-g 24 --width-d 24 --aug none --d-steps 1 --lr 1e-3 \
    --score-samples 500 --networks both
run=demo/$(basename "$(readlink -f demo/latest)")
$bin/rggan generate "$run" --seeds 0-99 --grid --outdir "$run/samples"
$bin/rggan show "$run" --film
$bin/python -m studies.check_digits "$run"
echo
echo "Pictures:  $run/samples/grid.png (100 generated digits)"
echo "The page:  $run/page.html; the film of the training: $run/training.webp"
echo "Use it:    .venv/bin/rggan generate $run --seeds 0-9 --outdir my-digits"
echo "Your own:  .venv/bin/rggan train FOLDER_OF_PICTURES"
