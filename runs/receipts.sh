#!/usr/bin/env bash
# The receipts of docs/small.md: each generator that runs/small.sh made, against the whole one. A minute each, on a machine
# with nothing else to do.
#
#   bash runs/receipts.sh OUT/sngan OUT/fastgan
set -euo pipefail
shopt -s nullglob
rggan=${RGGAN:-.venv/bin/rggan}
for family in "$@"; do
    for seed in "$family"/*/; do
        for small in "$seed"ladder/0.* "$seed"dense-*/latest; do
            name=$(basename "${small%/latest}")
            [ -s "$seed/receipt-$name.json" ] ||
                $rggan receipt "$seed/whole/latest" "$small" --onnx --seconds 2 --out "$seed/receipt-$name.json"
        done
    done
done
