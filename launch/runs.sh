# Shared by launchers of many runs; sourced with their arguments, after the options' defaults and `others=()`.
# An argument --NAME=VALUE sets the variable of that name where `options` has it; all else goes to `others`.
for argument in "$@"; do
  name=${argument%%=*} name=${name#--}
  case "$argument" in --*=*) ;; *) name='' ;; esac
  case " $options " in
    *" ${name:-?} "*) printf -v "$name" %s "${argument#*=}" ;;
    *) others+=("$argument") ;;
  esac
done
[ -n "$workdir" ] || { echo 'medjax: --workdir: expected a folder for the results' >&2; exit 2; }
train() {  # a folder and its arguments; a finished run is skipped
  local folder=$1 code=0
  shift
  [ -e "$folder/report.html" ] || python -m medjax.train --workdir="$folder" "$@" || code=$?
  # 75: SIGTERM, Ctrl-C or SIGHUP stopped the training, which has saved its state.
  [ $code != 75 ] || echo "medjax: $folder: stopped before its end; rerun the same command to resume" >&2
  [ $code = 0 ] || exit $code
}
