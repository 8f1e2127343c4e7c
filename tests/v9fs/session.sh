# The guest runs this script with bash or with busybox's sh. The rig sets the variables $HOST, $LIMIT,
# $VERBOSE and $RIG.

# session NAME OPTIONS WORKLOAD...: mounts a server, runs the workloads, and unmounts.
session() {
  name=$1 options=$2; shift 2
  export TOP=/mnt/$name HOST OPTIONS=$options
  mkdir -p $TOP
  dmesg -c >/dev/null
  step mount mount -t 9p -o $options $HOST $TOP || return
  for workload; do
    step $workload sh -eux $RIG/workloads/$workload.sh
    # The process is stuck in the kernel, so further workloads would also fail.
    [ $status = 125 ] && return
  done
  step umount umount $TOP || umount -l $TOP
}

# step NAME COMMAND...: runs the command and reports the result, and fails if the command fails.
step() {
  echo "BEGIN $name/$1"
  limited "$@"
  status=$?
  verdict $1 $status
}

# limited NAME COMMAND...: runs the command and returns its exit status. If the command takes longer
# than $LIMIT seconds, kills it and returns 124. If SIGKILL does not end the command, returns
# 125. A command survives SIGKILL if, for example, the server does not answer a Tflush.
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

# verdict NAME STATUS: prints the result of the step NAME. Fails unless STATUS is 0.
verdict() {
  case $2 in
    0) echo "PASS $name/$1";;
    77) echo "SKIP $name/$1";;
    124) echo "FAIL $name/$1 (over $LIMIT s)";;
    125) echo "FAIL $name/$1 (over $LIMIT s, and SIGKILL does not end it: is Tflush answered?)";;
    *) echo "FAIL $name/$1 (status $2)";;
  esac
  [ $2 = 0 ] && [ -z "$VERBOSE" ] && return
  [ $2 = 77 ] || { tail -n ${VERBOSE:-12} /tmp/trace; dmesg -c | tail -n 5; } | sed 's/^/    /'
  [ $2 = 0 ]
}
