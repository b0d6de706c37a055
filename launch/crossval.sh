#!/usr/bin/env bash
# Cross-validation: trains a config over folds and seeds, then merges them into one report.
#   bash launch/crossval.sh --config=configs/NAME.py --workdir=runs/NAME --folds=5 [--inner=4] [--seeds=1] [--config.KEY=VALUE …]
# Nested folds: each patient is tested once, in one of `folds` parts; of the rest, in `inner` parts, the next in turn validates.
# Finished runs are skipped, so rerun the same command to resume after a stop; `seeds` may grow, all other options must
# stay.
set -euo pipefail
. "$(dirname "$0")/install.sh" demo
options='folds inner seeds workdir' folds=5 inner=4 seeds=1 workdir='' others=()
. launch/runs.sh
arguments=$(printf '%s\n' "--folds=$folds" "--inner=$inner" ${others[@]+"${others[@]}"})
kept="$workdir/arguments.txt"
if [ -e "$kept" ] && [ "$arguments" != "$(cat "$kept")" ]; then
  echo "medjax: $kept: $(tr '\n' ' ' <"$kept"); expected the same arguments, or another --workdir" >&2
  exit 2
fi
mkdir -p "$workdir"
printf '%s\n' "$arguments" >"$kept"
runs=()
for seed in $(seq 0 $((seeds - 1))); do
  for fold in $(seq 0 $((folds - 1))); do
    run="$workdir/fold${fold}_seed${seed}"
    runs+=("$run")
    [ -e "$run/report.html" ] || echo "fold $fold of $folds, seed $seed"
    train "$run" ${others[@]+"${others[@]}"} --config.seed="$seed" --config.data.folds="($folds,$inner)" \
      --config.data.fold="($fold,0)"
  done
done
exec python -m medjax.evaluate --merge --workdir="$workdir" "${runs[@]}"
