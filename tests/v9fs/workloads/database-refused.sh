# Checks that a file contains the reason why a commit was refused. The kernel does not show the text
# of 9P errors.
. "$RIG/workloads/lib.sh"
[ -n "${DATABASE:-}" ] || exit 77
cd "$TOP"
a=branch/refused-$$
mkdir $a
for side in one two; do
  mkdir $a/transactions/$side
  echo $side >$a/transactions/$side/rw/file
  echo $side >$a/transactions/$side/msg
done
echo commit >$a/transactions/one/ctl
t=$a/transactions/two
refused '' sh -c "echo commit >$t/ctl"
reason=$(cat $t/ctl)
case $reason in *file*) ;; *) exit 1;; esac
same file "$(cat $t/conflicts)"
refused '' sh -c "echo nonsense >$t/ctl"
[ "$(cat $t/ctl)" != "$reason" ]

# The branch's head has moved since the transaction started.
mkdir $a/transactions/three
echo 3 >$a/transactions/three/rw/third
mkdir $a/transactions/four
echo 4 >$a/transactions/four/rw/fourth
echo commit >$a/transactions/three/ctl
refused '' sh -c "echo commit ff-only >$a/transactions/four/ctl"
[ -n "$(cat $a/transactions/four/ctl)" ]
echo commit >$a/transactions/four/ctl
echo close >$t/ctl
same 'file fourth third' "$(echo $(ls $a/ro))"
rmdir $a
