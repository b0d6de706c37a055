#!/usr/bin/env bash
# Installs medjax into .venv where that is not done yet, then runs `python -m medjax.train` with the arguments given;
# with none, the main job: bash launch/local.sh
set -euo pipefail
. "$(dirname "$0")/install.sh" demo
[ $# -gt 0 ] || set -- --config=configs/segment_brain_unet2d.py --workdir=runs/segment_brain_unet2d
exec python -m medjax.train "$@"
