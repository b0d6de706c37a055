#!/usr/bin/env bash
# Cross-validation: trains a config over folds and seeds, then merges them into one report.
#   bash launch/crossval.sh --config=configs/NAME.py --workdir=runs/NAME [--folds=5] [--inner=4] [--seeds=1] [--jobs=1] [--config.KEY=VALUE …]
# Nested folds: each patient is tested once, in one of `folds` parts; of the rest, in `inner` parts, the next in turn validates.
# The sweep of one setting, see launch/sweep.py, with folds. Finished runs are skipped, so rerun the same command to
# resume after a stop; `seeds` may grow, all other options must stay.
set -euo pipefail
. "$(dirname "$0")/install.sh" demo
exec python launch/sweep.py --folds=5 "$@"
