#!/usr/bin/env bash
# Utility of synthetic images: classifiers on few real radiographs, with and without synthetic ones and augmentation.
#   bash launch/utility.sh --workdir=runs/utility [--seeds=3] [--images=2000] [--fractions='0.0106 0.0425 1'] [--config.KEY=VALUE …]
# Fractions of the 4708 training radiographs: 50, 200 and all. The generator trains on the same radiographs as the
# classifier, and its last weights are used: validation radiographs for their choice would be more labels than the
# training has. Other arguments go to the classifiers. A fraction and seed takes about 7 minutes on one core; finished
# runs are skipped.
set -euo pipefail
. "$(dirname "$0")/install.sh" demo
options='seeds images fractions workdir' seeds=3 images=2000 fractions='0.0106 0.0425 1' workdir='' others=()
. launch/runs.sh
plain=(--config.augment.flip=0.0 --config.augment.shift=0.0 --config.augment.brightness=0.0 --config.augment.contrast=0.0)
for fraction in $fractions; do
  for arm in real augmented synthetic both; do
    runs=()
    for seed in $(seq 0 $((seeds - 1))); do
      few=("--config.data.label_fraction=$fraction" "--config.data.subset_seed=$seed" "--config.seed=$seed")
      synthetic=$workdir/$fraction/gan_$seed/synthetic.npz way=()
      case "$arm" in real | synthetic) way+=("${plain[@]}") ;; esac
      case "$arm" in synthetic | both)
        train "$workdir/$fraction/gan_$seed" --config=configs/gan_pneumonia.py "${few[@]}" --config.steps=4000 \
          --config.checkpoint.best=
        [ -e "$synthetic" ] || python -m medjax.synthesise --workdir="$workdir/$fraction/gan_$seed" --output="$synthetic" \
          --images="$images"
        way+=("--config.data.extra_npz=$synthetic") ;;
      esac
      runs+=("$workdir/$fraction/$arm/$seed")
      train "${runs[-1]}" --config=configs/classify_pneumonia_few.py:scratch "${few[@]}" \
        ${way[@]+"${way[@]}"} ${others[@]+"${others[@]}"}
    done
    [ "$seeds" = 1 ] || python -m medjax.evaluate --merge --workdir="$workdir/$fraction/$arm/all" "${runs[@]}"
  done
done
