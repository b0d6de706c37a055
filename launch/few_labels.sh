#!/usr/bin/env bash
# Label efficiency: pretraining without labels, then classifiers on 5 % of the labels, with and without it, over five seeds.
#   bash launch/few_labels.sh --workdir=runs/few [--seeds=5] [--jobs=1] [--config.KEY=VALUE …, of the classifiers]
# A sweep of four settings, see launch/sweep.py, after the two pretrainings. Finished runs are skipped, so rerun the same
# command to resume after a stop.
set -euo pipefail
. "$(dirname "$0")/install.sh" demo
workdir=''
for argument in "$@"; do case "$argument" in --workdir=*) workdir=${argument#*=} ;; esac; done
[ -n "$workdir" ] || { echo 'medjax: --workdir: expected a folder for the results' >&2; exit 2; }
few=configs/classify_pneumonia_few.py
python launch/sweep.py --workdir="$workdir/pretrained" \
  --setting='cnn: --config=configs/pretrain_pneumonia.py' --setting='mae: --config=configs/pretrain_pneumonia.py:mae'
exec python launch/sweep.py --seeds=5 "$@" \
  --setting="cnn_scratch: --config=$few:scratch" \
  --setting="cnn_begun: --config=$few --config.init.path='$workdir/pretrained/cnn/seed0'" \
  --setting="mae_scratch: --config=$few:mae_scratch" \
  --setting="mae_begun: --config=$few:mae --config.init.path='$workdir/pretrained/mae/seed0'" \
  --config.data.subset_seed='{seed}'
