# What a guest does with the servers; for bash and for busybox's sh. $HOST, $LIMIT, $VERBOSE and $RIG are set.

# session NAME OPTIONS WORKLOAD...: mounts, runs each, unmounts.
session() {
  name=$1 options=$2; shift 2
  export TOP=/mnt/$name HOST OPTIONS=$options
  mkdir -p $TOP
  dmesg -c >/dev/null
  step mount mount -t 9p -o $options $HOST $TOP || return
  for workload; do
    step $workload sh -eux $RIG/workloads/$workload.sh
    # Its process still sits in the kernel: nothing more can be learned here.
    [ $status = 125 ] && return
  done
  step umount umount $TOP || umount -l $TOP
}

# step NAME COMMAND...: runs it, says what came of it; fails when it did.
step() {
  echo "BEGIN $name/$1"
  limited "$@"
  status=$?
  verdict $1 $status
}

# limited NAME COMMAND...: its status; 124 when it took too long, 125 when even
# SIGKILL did not end it, as happens when the server leaves a Tflush unanswered.
limited() {
  shift
  rm -f /tmp/ended; mkfifo /tmp/ended
  exec 4<>/tmp/ended
  ( setsid sh -c 'echo $$ >/tmp/leader; exec "$@"' sh "$@" </dev/null >/tmp/trace 2>&1 4>&-
    echo $? >&4 ) 2>/dev/null &
  read -t $LIMIT ended <&4 && return $ended
  kill -9 -$(cat /tmp/leader)
  read -t 10 ended <&4 && return 124
  return 125
}

# verdict NAME STATUS: the line about it; fails when the step did.
verdict() {
  case $2 in
    0) echo "PASS $name/$1";;
    77) echo "SKIP $name/$1";;
    124) echo "FAIL $name/$1 (over $LIMIT s)";;
    125) echo "FAIL $name/$1 (over $LIMIT s, and not to be killed: is Tflush answered?)";;
    *) echo "FAIL $name/$1 (status $2)";;
  esac
  [ $2 = 0 ] && [ -z "$VERBOSE" ] && return
  [ $2 = 77 ] || { tail -n ${VERBOSE:-12} /tmp/trace; dmesg -c | tail -n 5; } | sed 's/^/    /'
  [ $2 = 0 ]
}
