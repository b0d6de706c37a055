#!/usr/bin/env bash
# Installs medjax and what its documentation needs into .venv, then builds the site into site/; other arguments go to
# mkdocs. A warning, such as a link without a target, ends the build.
#   bash launch/docs.sh
#   bash launch/docs.sh --site-dir=/tmp/site
set -euo pipefail
. "$(dirname "$0")/install.sh" docs
export JAX_PLATFORMS=cpu NO_MKDOCS_2_WARNING=1
exec python -m mkdocs build --strict "$@"
