#!/usr/bin/env bash
# Runs an Orthanc (a PACS) on loopback, without root: installed from Debian packages where the machine has none.
#   bash launch/orthanc.sh FOLDER [HTTP_PORT [DICOM_PORT]]   database, settings and log are in FOLDER; Ctrl-C ends it
#   bash launch/orthanc.sh --background FOLDER …              returns when it answers; kill $(cat FOLDER/pid) ends it
#   bash launch/orthanc.sh --install                          installs alone, into $ORTHANC_DIR or ~/.cache/medjax/orthanc
# MODALITIES='{"medjax": ["MEDJAX", "127.0.0.1", 11112]}' names those that it can send to.
set -euo pipefail
root=${ORTHANC_DIR:-$HOME/.cache/medjax/orthanc}

install() {
  [ -x "$root/usr/sbin/Orthanc" ] && return
  command -v apt-get > /dev/null && command -v dpkg > /dev/null || {
    echo "$0: no Orthanc and no apt-get here; expected Debian, or an Orthanc in ORTHANC_DIR" >&2; exit 2; }
  mkdir -p "$root.part/packages"
  cd "$root.part/packages"
  # The packages that Orthanc needs and that the machine lacks; those that ask questions are of no use here.
  all=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
    --no-enhances orthanc orthanc-dicomweb | grep '^[a-z]' | sort -u) || {
    echo "$0: the packages orthanc and orthanc-dicomweb are not known; run: apt-get update" >&2; exit 2; }
  missing=$(for name in $all; do
    dpkg-query -W -f='${Status}' "$name" 2> /dev/null | grep -q 'ok installed' || echo "$name"; done |
    grep -E '^(orthanc|lib)' | grep -v -e '-perl$' -e debian-installer)
  apt-get download -q $missing
  for package in *.deb; do dpkg -x "$package" "$root.part"; done
  mkdir -p "$(dirname "$root")"
  rm -rf "$root"
  mv "$root.part" "$root"
}

(install)
[ "${1:-}" = --install ] && exit
background=
if [ "${1:-}" = --background ]; then background=yes; shift; fi
folder=${1:?a folder for the database} http=${2:-8042} dicom=${3:-4242}
mkdir -p -m 700 "$folder"
folder=$(cd "$folder" && pwd)
plugin=$(find "$root/usr" -name 'libOrthancDicomWeb.so*' -type f | head -1)
cat > "$folder/orthanc.json" << EOF
{"Name": "medjax", "StorageDirectory": "$folder/database", "IndexDirectory": "$folder/database", "HttpPort": $http,
 "DicomPort": $dicom, "DicomAet": "ORTHANC", "RemoteAccessAllowed": false, "AuthenticationEnabled": false, "Locale": "C",
 "DicomModalities": ${MODALITIES:-{\}}, "DicomCheckModalityHost": false, "DicomAlwaysAllowStore": true,
 "OverwriteInstances": true, "Plugins": ["$plugin"],
 "DicomWeb": {"Enable": true, "Root": "/dicom-web/", "StudiesMetadata": "Full", "SeriesMetadata": "Full"}}
EOF
libraries=$(find "$root" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
dictionary=$(find "$root" /usr/share -name dicom.dic 2> /dev/null | head -1)
export LD_LIBRARY_PATH=$libraries DCMDICTPATH=$dictionary
[ "$background" ] || exec "$root/usr/sbin/Orthanc" "$folder/orthanc.json"
"$root/usr/sbin/Orthanc" "$folder/orthanc.json" > "$folder/log" 2>&1 &
echo $! > "$folder/pid"
for _ in $(seq 150); do
  kill -0 $! 2> /dev/null || { tail -n 3 "$folder/log" >&2; exit 2; }
  (: < "/dev/tcp/127.0.0.1/$http") 2> /dev/null && grep -q 'Orthanc has started' "$folder/log" && exit
  sleep 0.2
done
echo "$0: no answer on port $http; see $folder/log" >&2
exit 2
