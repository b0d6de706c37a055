#!/usr/bin/env bash
# Cross-validation: trains a config over folds and seeds, then merges them into one report.
#   bash launch/crossval.sh --config=configs/NAME.py --workdir=runs/NAME --folds=5 [--inner=4] [--seeds=1] [--config.KEY=VALUE …]
# Each patient tests once: of `folds` parts one tests, and of the rest, in `inner` parts, the first validates (nested
# folds). Runs that are done are passed over, so that the same command goes on after a stop; `seeds` may grow, all other
# options must stay.
set -euo pipefail
. "$(dirname "$0")/install.sh" demo
folds=5 inner=4 seeds=1 workdir='' others=()
for argument in "$@"; do
  case "$argument" in
    --folds=*) folds=${argument#*=} ;;
    --inner=*) inner=${argument#*=} ;;
    --seeds=*) seeds=${argument#*=} ;;
    --workdir=*) workdir=${argument#*=} ;;
    *) others+=("$argument") ;;
  esac
done
[ -n "$workdir" ] || { echo 'medjax: --workdir: expected a folder for the results' >&2; exit 2; }
arguments=$(printf '%s\n' "--folds=$folds" "--inner=$inner" "${others[@]}")
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
    [ -e "$run/report.html" ] && continue
    echo "fold $fold of $folds, seed $seed"
    python -m medjax.train "${others[@]}" --workdir="$run" --config.seed="$seed" \
      --config.data.folds="($folds,$inner)" --config.data.fold="($fold,0)"
    # A training that SIGTERM stopped has saved its state and ends well, but has no report.
    [ -e "$run/report.html" ] || { echo "medjax: $run: stopped before its end; the same command goes on" >&2; exit 1; }
  done
done
exec python -m medjax.evaluate --merge --workdir="$workdir" "${runs[@]}"
