# Copies, edits and moves files in a transaction with ordinary command-line tools.
. "$RIG/workloads/lib.sh"
[ -n "${DATABASE:-}" ] || exit 77
cd "$TOP"
from=/tmp/tools
rm -rf $from
mkdir -p $from/dir/below
bytes 70000 >$from/large
echo one >$from/dir/one
echo two >$from/dir/below/run
chmod 755 $from/dir/below/run
a=branch/tools-$$
t=$a/transactions/t
mkdir $a $t
rw=$TOP/$t/rw

mkdir -m 700 $rw/private
[ -d $rw/private ]
cp -a $from $rw/cp
diff -r $from $rw/cp
[ -x $rw/cp/dir/below/run ]
tar -C $from -cf - . | { mkdir $rw/tar; tar -C $rw/tar -xpf -; }
diff -r $from $rw/tar
touch $rw/tar $rw/tar/large
chmod 755 $rw/tar
if command -v rsync; then
  rsync -a $from/ $rw/rsync
  diff -r $from $rw/rsync
  echo more >>$from/dir/one
  rsync -a --delete $from/ $rw/rsync
  diff -r $from $rw/rsync
fi
sed -i 's/one/1/' $rw/cp/dir/one
same 1 "$(cat $rw/cp/dir/one)"
mv $rw/cp/dir/one $rw/cp/one
same 1 "$(cat $rw/cp/one)"
rm -r $rw/tar
echo 'By tools' >$t/msg
same 'By tools' "$(cat $t/msg)"
echo commit >$t/ctl
[ ! -e $t ]
[ ! -e $a/ro/tar ]
same "$(bytes 70000 | sum)" "$(sum <$a/ro/cp/large)"
same 755 "$(stat -c %a $a/ro/cp/dir/below/run)"
[ -x $a/ro/cp/dir/below/run ]
mkdir -p /tmp/back
cp -a $a/ro /tmp/back/$$
diff -r $a/ro /tmp/back/$$

# Removing a transaction's directory aborts the transaction.
mkdir $t
mkdir $t/rw/dir
echo x >$t/rw/dir/file
rm -rf $t
[ ! -e $t ]
same "$(cat $a/head)" "$(cat $a/head)"
rmdir $a
