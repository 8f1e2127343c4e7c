# Kills a process that is blocked in a read of $STREAM. The kernel sends Tflush, and the process
# ends when Rflush arrives.
. "$RIG/workloads/lib.sh"
[ -n "${STREAM:-}" ] || exit 77
cd "$TOP"

# until_blocked PID: waits until the process has slept for a while, which means that it waits for a
# 9P reply. In User Mode Linux, /proc/PID/wchan does not name the right function.
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
  # The connection still serves other requests.
  ls >/dev/null
  kill -KILL $reader
  if wait $reader; then exit 1; else same 137 $?; fi
  ls >/dev/null
done
