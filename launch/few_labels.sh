#!/usr/bin/env bash
# Label efficiency: pretraining without labels, then classifiers on 5 % of the labels, with and without it, over five seeds.
#   bash launch/few_labels.sh --workdir=runs/few [--seeds=5] [--config.KEY=VALUE …, of the classifiers]
# Finished runs are skipped, so rerun the same command to resume after a stop.
set -euo pipefail
. "$(dirname "$0")/install.sh" demo
options='seeds workdir' seeds=5 workdir='' others=()
. launch/runs.sh
train "$workdir/pretrained" --config=configs/pretrain_pneumonia.py
train "$workdir/pretrained_mae" --config=configs/pretrain_pneumonia.py:mae
for kind in '' mae; do
  for way in begun scratch; do
    variant=$kind begin=()
    if [ "$way" = scratch ]; then variant=${kind:+${kind}_}scratch
    else begin=("--config.init.path=$workdir/pretrained${kind:+_$kind}"); fi
    runs=()
    for seed in $(seq 0 $((seeds - 1))); do
      runs+=("$workdir/${kind:-cnn}_$way/$seed")
      train "${runs[-1]}" "--config=configs/classify_pneumonia_few.py:$variant" --config.seed="$seed" \
        --config.data.subset_seed="$seed" ${begin[@]+"${begin[@]}"} ${others[@]+"${others[@]}"}
    done
    python -m medjax.evaluate --merge --workdir="$workdir/${kind:-cnn}_$way/all" "${runs[@]}"
  done
done
