#!/usr/bin/env bash
# One training run on a slice of Cloud TPU, from the checkout to the report. Needs gcloud, logged in, with a project:
#   bash launch/tpu.sh NAME ZONE TYPE BUCKET --config=configs/NAME.py --workdir=runs/NAME [--config.KEY=VALUE …]
#   bash launch/tpu.sh brain us-west4-a v5litepod-16 my-bucket --config=configs/segment_brain_unet3d.py --workdir=runs/brain
# It queues a request for the slice, waits for it, sends the commit that is checked out to all workers, mounts the bucket
# at /mnt/bucket there, and trains by all of them. --workdir is a folder of the bucket, and so is DATA, for
# MEDJAX_DATA_DIR. After a preemption it requests another slice and resumes. The slice is deleted at the end.
# Variables: SPOT=1 for spot capacity, RUNTIME for another version of the VMs, DATA=data, KEEP=1 to keep the slice.
set -euo pipefail
[ $# -ge 6 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2; }
name=$1 zone=$2 type=$3 bucket=${4#gs://}
shift 4
case $type in
  v5litepod-*) runtime=v2-alpha-tpuv5-lite ;;
  v5p-*) runtime=v2-alpha-tpuv5 ;;
  v6e-*) runtime=v2-alpha-tpuv6e ;;
  *) runtime=tpu-ubuntu2204-base ;;
esac
workdir='' arguments=()
for argument in "$@"; do
  case $argument in
    --workdir=/* | --workdir=*:*) echo "launch/tpu.sh: $argument; expected a folder of the bucket, as runs/NAME" >&2; exit 2 ;;
    --workdir=*) workdir=${argument#--workdir=}; argument=--workdir=/mnt/bucket/$workdir ;;
  esac
  arguments+=("$argument")
done
[ -n "$workdir" ] || { echo 'launch/tpu.sh: expected --workdir=FOLDER, a folder of the bucket' >&2; exit 2; }
cd "$(dirname "$0")/.."
[ -z "$(git status --porcelain --untracked-files=no)" ] || echo 'launch/tpu.sh: changes without a commit are not sent' >&2

tpus=(gcloud compute tpus)
state() {
  "${tpus[@]}" queued-resources list --zone="$zone" --filter="name~/$name\$" --format='value(state.state)'
}
request() {
  "${tpus[@]}" queued-resources create "$name" --node-id="$name" --zone="$zone" --accelerator-type="$type" \
    --runtime-version="${RUNTIME:-$runtime}" ${SPOT:+--spot}
}
delete() {
  "${tpus[@]}" queued-resources delete "$name" --zone="$zone" --force --quiet
}
on_all() {
  "${tpus[@]}" tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$1"
}
finished() {
  gcloud storage ls "gs://$bucket/$workdir/report.html" >/dev/null 2>&1
}
end() {
  [ -n "${KEEP:-}" ] || [ -z "$(state)" ] || delete
}

# Ubuntu 22.04 has Python 3.10. The bucket's files belong to the user of each worker.
# shellcheck disable=SC2016
prepare='set -e
command -v python3.11 >/dev/null || { sudo add-apt-repository -y ppa:deadsnakes/ppa
  sudo apt-get -qq install -y python3.11-venv; }
command -v gcsfuse >/dev/null || {
  curl -fsS https://packages.cloud.google.com/apt/doc/apt-key.gpg | sudo tee /usr/share/keyrings/cloud.google.asc >/dev/null
  echo "deb [signed-by=/usr/share/keyrings/cloud.google.asc] https://packages.cloud.google.com/apt gcsfuse-$(lsb_release -cs) main" |
    sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
  sudo apt-get -qq update; sudo apt-get -qq install -y gcsfuse; }
mountpoint -q /mnt/bucket || { sudo mkdir -p /mnt/bucket; sudo chown "$USER" /mnt/bucket
  gcsfuse --implicit-dirs '"$(printf %q "$bucket")"' /mnt/bucket; }
rm -rf medjax; git clone -q medjax.bundle medjax; cd medjax
PYTHON=python3.11 bash -c ". launch/install.sh tpu"'
data=${DATA:+MEDJAX_DATA_DIR=$(printf %q "/mnt/bucket/$DATA") }
train="cd medjax && ${data}.venv/bin/python -m medjax.train --distributed=auto$(printf ' %q' "${arguments[@]}")"

bundle=$(mktemp -d)
trap 'rm -rf "$bundle"; end' EXIT
git bundle create --quiet "$bundle/medjax.bundle" HEAD
until finished; do
  case $(state) in
    '') request ;;
    ACTIVE)
      if "${tpus[@]}" tpu-vm scp "$bundle/medjax.bundle" "$name":medjax.bundle --zone="$zone" --worker=all &&
        on_all "$prepare" && on_all "$train"; then
        finished || { echo "launch/tpu.sh: no report in gs://$bucket/$workdir" >&2; exit 1; }
      else
        sleep "${PAUSE:-60}"  # a slice that was preempted is still ACTIVE for a moment
        [ "$(state)" != ACTIVE ] || { echo 'launch/tpu.sh: stopped by the error above' >&2; exit 1; }
      fi ;;
    FAILED) echo 'launch/tpu.sh: the request failed; see gcloud compute tpus queued-resources describe' >&2; exit 1 ;;
    SUSPENDED) delete ;;
    *) sleep "${PAUSE:-60}" ;;
  esac
done
echo "report: gs://$bucket/$workdir/report.html"
