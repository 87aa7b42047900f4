# Sourced by the others: `stoppable COMMAND...` runs a command, hands TERM and INT on to it, and
# returns its exit code when it has ended in good order.
child=
trap '[ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true' TERM INT

stoppable() {
  local code=0
  "$@" &
  child=$!
  wait "$child" || code=$?
  while kill -0 "$child" 2>/dev/null; do # the trap broke the wait, and the command still ends
    code=0
    wait "$child" || code=$?
  done
  child=
  return "$code"
}

usage() {
  sed -n '2,/^set/{/^#/p}' "$0" >&2
  exit 2
}
