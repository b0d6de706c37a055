# Creates .venv where it is missing and installs medjax there; sourced by the launchers with the extras as arguments.
# Afterwards the root of the checkout is the current folder, and .venv is active.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
find_python() {
  for name in ${PYTHON:-} python3.12 python3.11 python3; do
    "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && { echo "$name"; return; }
  done
  echo 'medjax: Python 3.11 or 3.12 is needed; name one by PYTHON=/path/to/python' >&2
  exit 2
}
[ -x .venv/bin/python ] || { python=$(find_python) && "$python" -m venv .venv; }
. .venv/bin/activate
# A file marks each installed extra: a second launch starts at once, and a changed setup.py or pin installs again.
for extra in "$@"; do
  mark=".venv/installed-$extra-$(cat setup.py constraints.txt | cksum | cut -d' ' -f1)"
  [ -e "$mark" ] && continue
  echo "installing medjax[$extra] into .venv …"
  # By version and first: from a range pip would choose a build with gigabytes of CUDA.
  if [ "$extra" = oracle ] || [ "$extra" = bench ]; then python -m pip install --quiet 'torch==2.13.0'; fi
  python -m pip install --quiet --constraint constraints.txt --editable ".[$extra]"
  touch "$mark"
done
