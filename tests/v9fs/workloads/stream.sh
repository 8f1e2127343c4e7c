# Kills a process that is blocked in a read of $STREAM: the kernel sends Tflush
# and lets the process end only when that is answered.
. /workloads/lib.sh
[ -n "${STREAM:-}" ] || exit 77
cd "$TOP"
for round in 1 2 3; do
  cat "$STREAM" >/tmp/streamed &
  reader=$!
  # In a 9P request, and still so a while later: that is the blocked one.
  blocked=0
  while [ $blocked -lt 5 ]; do
    case $(cat /proc/$reader/wchan) in p9_*) blocked=$((blocked + 1));; *) blocked=0;; esac
    usleep 50000
  done
  # The connection serves others meanwhile.
  ls >/dev/null
  kill -KILL $reader
  if wait $reader; then exit 1; else same 137 $?; fi
  ls >/dev/null
done
