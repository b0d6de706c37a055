#!/usr/bin/env bash
# Utility of synthetic images: classifiers on few real radiographs, with and without synthetic ones and augmentation.
#   bash launch/utility.sh --workdir=runs/utility [--seeds=3] [--jobs=1] [--images=2000] [--fractions='0.0106 0.0425 1'] [--config.KEY=VALUE …]
# Fractions of the 4708 training radiographs: 50, 200 and all. The generator trains on the same radiographs as the
# classifier, and its last weights are used: validation radiographs for their choice would be more labels than the
# training has. Other arguments go to the classifiers. A fraction and seed takes about 7 minutes on one core; finished
# runs are skipped. Two sweeps, see launch/sweep.py: of the generators, and of the classifiers.
set -euo pipefail
. "$(dirname "$0")/install.sh" demo
seeds=3 jobs=1 images=2000 fractions='0.0106 0.0425 1' workdir='' others=()
for argument in "$@"; do
  value=${argument#*=}
  case "$argument" in
    --seeds=*) seeds=$value ;; --jobs=*) jobs=$value ;; --images=*) images=$value ;;
    --fractions=*) fractions=$value ;; --workdir=*) workdir=$value ;; *) others+=("$argument") ;;
  esac
done
[ -n "$workdir" ] || { echo 'medjax: --workdir: expected a folder for the results' >&2; exit 2; }
sweep=(python launch/sweep.py --seeds="$seeds" --jobs="$jobs")
plain='--config.augment.flip=0.0 --config.augment.shift=0.0 --config.augment.brightness=0.0 --config.augment.contrast=0.0'
generators=() classifiers=()
for fraction in $fractions; do
  few="--config.data.label_fraction=$fraction" extra="--config.data.extra_npz='$workdir/generators/$fraction/seed{seed}/synthetic.npz'"
  generators+=(--setting="$fraction: $few")
  classifiers+=(--setting="$fraction/real: $few $plain" --setting="$fraction/augmented: $few"
    --setting="$fraction/synthetic: $few $plain $extra" --setting="$fraction/both: $few $extra")
done
"${sweep[@]}" --workdir="$workdir/generators" --config=configs/gan_pneumonia.py "${generators[@]}" \
  --config.steps=4000 --config.checkpoint.best= --config.data.subset_seed='{seed}'
for fraction in $fractions; do
  for seed in $(seq 0 $((seeds - 1))); do
    run=$workdir/generators/$fraction/seed$seed
    [ -e "$run/synthetic.npz" ] ||
      python -m medjax.synthesise --workdir="$run" --output="$run/synthetic.npz" --images="$images"
  done
done
exec "${sweep[@]}" --workdir="$workdir" --config=configs/classify_pneumonia_few.py:scratch "${classifiers[@]}" \
  --config.data.subset_seed='{seed}' ${others[@]+"${others[@]}"}
