#!/usr/bin/env bash
# Installs medjax with its test requirements into .venv, then runs ruff and the suite; other arguments go to pytest.
#   bash launch/test.sh             all but the tests that compare with oracle libraries
#   bash launch/test.sh --oracle    those too, with PyTorch, MONAI and surface-distance installed
#   bash launch/test.sh -m slow     the tests that take minutes
#   bash launch/test.sh -m clinic   those with an Orthanc of their own, which launch/orthanc.sh installs
#   bash launch/test.sh -m public_data   those that read public data sets, in MEDJAX_DATA_DIR or ../shared/data
set -euo pipefail
extras=test
tests=(--ignore=tests/oracle)
arguments=()
for argument in "$@"; do
  if [ "$argument" = --oracle ]; then extras='test oracle' tests=(); else arguments+=("$argument"); fi
done
. "$(dirname "$0")/install.sh" $extras
ruff check .
# One process per core, up to four: the tests mostly compile, and a compiler keeps one core busy. The tests of a file
# stay in one process, since their fixtures train networks.
exec python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder ${tests[@]+"${tests[@]}"} ${arguments[@]+"${arguments[@]}"}
