# Tests the port forwards of the `ports` example. $FORWARD is an unused port on the host. On port
# $ECHO, the host runs an echo server.
. "$RIG/workloads/lib.sh"
[ -n "${FORWARD:-}" ] || exit 77
cd "$TOP"
name=tcp:127.0.0.1:$FORWARD:tcp:127.0.0.1:$ECHO

# through TEXT: sends TEXT through the port forward and prints the reply.
through() {
  echo "$1" | busybox nc -w 30 "$HOST" "$FORWARD"
}

# gone NAME: waits until the file NAME no longer exists. A killed process does not close its files
# immediately.
gone() {
  tries=0
  while [ -e "$1" ]; do
    [ $((tries += 1)) -lt 600 ]
    sleep 0.1
  done
}

grep -q OK README
refused '' through early

# A port forward exists as long as its `ctl` file is open.
mkdir "$name"
exec 3<>"$name/ctl"
echo "$name" >&3
read -r reply <&3
same "OK $name" "$reply"
same "README $name" "$(echo $(ls))"
same ping "$(through ping)"
# Opening and closing `ctl` again does not stop the port forward.
cat "$name/ctl"
same pong "$(through pong)"
exec 3>&-
[ ! -e "$name" ]
refused '' through late

# Killing the process that has `ctl` open stops the port forward.
mkdir "$name"
( set +x
  exec 3<>"$name/ctl"
  echo "$name" >&3
  exec sleep 60 ) &
holder=$!
tries=0
until same again "$(through again)"; do
  [ $((tries += 1)) -lt 600 ]
  sleep 0.1
done
kill -KILL $holder
if wait $holder; then exit 1; fi
gone "$name"
refused '' through late

# If the name of a port forward is invalid, `ctl` contains the reason.
mkdir udp:1.2.3.4:5
exec 3<>udp:1.2.3.4:5/ctl
echo udp:1.2.3.4:5 >&3
read -r reply <&3
case $reply in "ERROR the form is tcp:"*) ;; *) exit 1;; esac
exec 3>&-
same README "$(ls)"
refused '' mkdir README
refused '' touch file
