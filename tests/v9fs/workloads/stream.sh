# Kills a process that is blocked in a read of $STREAM: the kernel sends Tflush
# and lets the process end only when that is answered.
. "$RIG/workloads/lib.sh"
[ -n "${STREAM:-}" ] || exit 77
cd "$TOP"

# until_blocked PID: waits until it sleeps, and still does a while later: that is in a 9P request.
# Not by /proc/PID/wchan, which has another function's name in User Mode Linux.
until_blocked() {
  asleep=0
  while [ $asleep -lt 5 ]; do
    case $(sed 's/.*) //' /proc/$1/stat) in [SD]*) asleep=$((asleep + 1));; *) asleep=0;; esac
    sleep 0.05
  done
}

for round in 1 2 3; do
  cat "$STREAM" >/tmp/streamed &
  reader=$!
  until_blocked $reader
  # The connection serves others meanwhile.
  ls >/dev/null
  kill -KILL $reader
  if wait $reader; then exit 1; else same 137 $?; fi
  ls >/dev/null
done
