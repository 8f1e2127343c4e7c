# Kills a process that is blocked in a read of $STREAM. The kernel sends Tflush, and the process
# ends when Rflush arrives.
. "$RIG/workloads/lib.sh"
[ -n "${STREAM:-}" ] || exit 77
cd "$TOP"

# until_blocked PID: waits until the process has slept for a short time, because it is then probably
# waiting for a 9P reply. In User Mode Linux, /proc/PID/wchan contains the wrong function.
until_blocked() {
  asleep=0 tries=0
  while [ $asleep -lt 5 ]; do
    [ $((tries += 1)) -lt 1000 ]
    case $(sed 's/.*) //' /proc/$1/stat) in [SD]*) asleep=$((asleep + 1));; *) asleep=0;; esac
    sleep 0.05
  done
}

for round in 1 2 3; do
  cat "$STREAM" >/tmp/streamed &
  reader=$!
  until_blocked $reader
  # The server still answers other requests on the same connection.
  ls >/dev/null
  kill -KILL $reader
  if wait $reader; then exit 1; else same 137 $?; fi
  ls >/dev/null
done
