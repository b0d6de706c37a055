#!/usr/bin/env bash
# Installs medjax and its tests' needs into .venv, then runs ruff and the suite; other arguments go to pytest.
#   bash launch/test.sh             all but the tests that ask an oracle library
#   bash launch/test.sh --oracle    those too, with PyTorch, MONAI and surface-distance installed
#   bash launch/test.sh -m slow     what takes minutes
set -euo pipefail
extras=test
tests=(--ignore=tests/oracle)
arguments=()
for argument in "$@"; do
  if [ "$argument" = --oracle ]; then extras='test oracle' tests=(); else arguments+=("$argument"); fi
done
. "$(dirname "$0")/install.sh" $extras
ruff check .
# A process a core, up to four: the tests compile, mostly, and a compiler keeps one core busy. Files stay whole, for their
# fixtures train networks.
exec python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder ${tests[@]+"${tests[@]}"} ${arguments[@]+"${arguments[@]}"}
