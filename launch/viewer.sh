#!/usr/bin/env bash
# Installs NiiVue (BSD-2-Clause), with which `medjax view` draws volumes, into MEDJAX_VIEWER_DIR or ~/.cache/medjax/viewer.
# It is fetched by npm and checked; nothing of it is in this repository.
#   bash launch/viewer.sh
#   bash launch/viewer.sh --ohif     OHIF (MIT; 200 MB), for `medjax view --dicomweb`, as well
set -euo pipefail
version=0.69.0
archive=6e9a6a471b428eb3b258a0086beca9187d95e43a781a39e8a519c6da246af485
file=47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af
folder=${MEDJAX_VIEWER_DIR:-$HOME/.cache/medjax/viewer}
target=$folder/niivue-$version.umd.js
ohif=3.12.10
ohif_archive=fbabd410be33e5b9898931b725229b9da9553aac339914b5c29796d3aa5d4b2d
need_niivue=yes need_ohif=
echo "$file  $target" | sha256sum --check --status 2>/dev/null && need_niivue=
[ "${1:-}" = --ohif ] && [ ! -f "$folder/ohif-$ohif/index.html" ] && need_ohif=yes
if [ ! "$need_niivue$need_ohif" ]; then
  echo "NiiVue $version${1:+ and OHIF $ohif} is in $folder"
  exit 0
fi
command -v npm >/dev/null || { echo 'launch/viewer.sh: npm is not installed; expected Node.js with npm' >&2; exit 2; }
mkdir -p "$folder"
place=$(mktemp -d "$folder/install.XXXXXX")
trap 'rm -rf "$place"' EXIT
if [ "$need_niivue" ]; then
  (cd "$place" && npm pack --silent "@niivue/niivue@$version" >/dev/null)
  echo "$archive  $place/niivue-niivue-$version.tgz" | sha256sum --check --quiet
  tar -xzf "$place/niivue-niivue-$version.tgz" -C "$place" package/dist/niivue.umd.js
  echo "$file  $place/package/dist/niivue.umd.js" | sha256sum --check --quiet
  mv "$place/package/dist/niivue.umd.js" "$target"
fi
if [ "$need_ohif" ]; then
  (cd "$place" && npm pack --silent "@ohif/app@$ohif" >/dev/null)
  echo "$ohif_archive  $place/ohif-app-$ohif.tgz" | sha256sum --check --quiet
  tar -xzf "$place/ohif-app-$ohif.tgz" -C "$place" package/dist
  rm -rf "$folder/ohif-$ohif"
  mv "$place/package/dist" "$folder/ohif-$ohif"
fi
echo "NiiVue $version${1:+ and OHIF $ohif} is in $folder"
