#!/usr/bin/env bash
# What synthetic films are worth: classifiers on few real films, with and without made ones, with and without augmentation.
#   bash launch/utility.sh --workdir=runs/utility [--seeds=3] [--made=2000] [--shares='0.0106 0.0425 1'] [--config.KEY=VALUE …]
# Shares of the 4708 training films: 50, 200 and all. The generator learns from those very films and no others, and its
# last weights count: validation films to choose them by would be more labels than train. Other arguments are the
# classifiers'. A share and seed takes some 7 minutes on one core; runs that are done are passed over.
set -euo pipefail
. "$(dirname "$0")/install.sh" demo
options='seeds made shares workdir' seeds=3 made=2000 shares='0.0106 0.0425 1' workdir='' others=()
. launch/runs.sh
plain=(--config.augment.flip=0.0 --config.augment.shift=0.0 --config.augment.brightness=0.0 --config.augment.contrast=0.0)
for share in $shares; do
  for arm in real augmented synthetic both; do
    runs=()
    for seed in $(seq 0 $((seeds - 1))); do
      few=("--config.data.label_fraction=$share" "--config.data.subset_seed=$seed" "--config.seed=$seed")
      films=$workdir/$share/gan_$seed/synthetic.npz way=()
      case "$arm" in real | synthetic) way+=("${plain[@]}") ;; esac
      case "$arm" in synthetic | both)
        train "$workdir/$share/gan_$seed" --config=configs/gan_pneumonia.py "${few[@]}" --config.steps=4000 \
          --config.checkpoint.best=
        [ -e "$films" ] || python -m medjax.synthesise --workdir="$workdir/$share/gan_$seed" --output="$films" \
          --images="$made"
        way+=("--config.data.extra_npz=$films") ;;
      esac
      runs+=("$workdir/$share/$arm/$seed")
      train "${runs[-1]}" --config=configs/classify_pneumonia_few.py:scratch "${few[@]}" \
        ${way[@]+"${way[@]}"} ${others[@]+"${others[@]}"}
    done
    [ "$seeds" = 1 ] || python -m medjax.evaluate --merge --workdir="$workdir/$share/$arm/all" "${runs[@]}"
  done
done
