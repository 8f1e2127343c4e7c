# Reads a stream line by line with shells and awk. Some of these programs read single bytes, and others
# read blocks. The stream is the $LINES file, which must produce lines continuously. If $LINES is
# not set, the stream is the `head.live` file of a branch.
. "$RIG/workloads/lib.sh"
[ -n "${DATABASE:-}${LINES:-}" ] || exit 77
cd "$TOP"
lines=${LINES:-branch/lines-$$/head.live}
if [ -z "${LINES:-}" ]; then
  a=branch/lines-$$
  mkdir $a
  # commit NUMBER: commits a file that contains NUMBER to the branch.
  commit() {
    mkdir $a/transactions/$1
    echo $1 >$a/transactions/$1/rw/file
    echo commit >$a/transactions/$1/ctl
  }
  # If the branch has no commits, the stream starts with an empty line.
  commit 0
  ( set +x
    number=0
    while commit $((number += 1)); do sleep 0.2; done ) 2>/dev/null &
  trap "kill $!; wait; rmdir $a" EXIT
fi

loop='n=0; while read -r line && [ -n "$line" ]; do echo "$line"; n=$((n + 1)); [ $n -lt 3 ] || break; done <"$0"'
three_lines() {
  same 3 "$(timeout 100 "$@" "$lines" | grep -c ..)"
}
three_lines sh -c "$loop"
for shell in dash bash; do
  if command -v $shell; then three_lines $shell -c "$loop"; fi
done
if command -v busybox; then three_lines busybox sh -c "$loop"; fi
three_lines head -n 3
for awk in "mawk -W interactive" gawk; do
  if command -v ${awk%% *}; then three_lines $awk '{ print; fflush() } NR == 3 { exit }'; fi
done
