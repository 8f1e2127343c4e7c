# Runs the database examples from the documentation in a mounted tree.
. "$RIG/workloads/lib.sh"
[ -n "${DATABASE:-}" ] || exit 77
cd "$TOP"
a=branch/rig-$$-a
b=branch/rig-$$-b

# Create a branch and commit to it.
mkdir $a
t=$a/transactions/t
mkdir $t
mkdir $t/rw/src
echo 'all: build test' >$t/rw/src/Makefile
echo one >$t/rw/file
echo 'My commit' >$t/msg
echo commit >$t/ctl
[ ! -e $t ]
same 'all: build test' "$(cat $a/ro/src/Makefile)"
same 16 "$(size $a/ro/src/Makefile)"
first=$(cat $a/head)
same "My commit" "$(head -n 1 snapshots/$first/msg)"
same '' "$(cat snapshots/$first/parents)"
# The text of the kernel's error message depends on the dialect.
refused '' sh -c "echo x >$a/ro/file"

# Create a second branch with the same head, commit to both branches, and merge them.
mkdir $b
cp $a/head $b/fast-forward
same "$first" "$(cat $b/head)"
mkdir $b/transactions/t
echo two >$b/transactions/t/rw/other
chmod +x $b/transactions/t/rw/file
echo commit >$b/transactions/t/ctl
[ -x $b/ro/file ]
same "$(printf '* file\n+ other')" "$(cat $b/diff/$first)"
mkdir $t
echo three >$t/rw/third
cat $b/head >$t/merge
same '' "$(cat $t/conflicts)"
same two "$(cat $t/theirs/other)"
echo commit >$t/ctl
same 'file other src third' "$(echo $(ls $a/ro))"
same 2 "$(wc -l <snapshots/$(cat $a/head)/parents)"

# A `tree.live` file contains the name of a tree, which can be listed.
tree=$(head -n 1 $a/watch/src.node/tree.live)
same Makefile "$(ls trees/$tree)"
same "$tree" "$(head -n 1 $b/watch/src.node/tree.live)"

# In a transaction, rename a file, remove a directory, and copy a file along with its times and
# mode.
mkdir $t
mv $t/rw/file $t/rw/moved
rm -r $t/rw/src
cp -p $t/rw/moved $t/rw/copy
ls -l $t >/dev/null
echo close >$t/ctl
[ ! -e $t ]

# Set a log level, use a remote, rename a branch, and remove branches.
level=debug/src/server/level
before=$(cat $level)
echo debug >$level
same debug "$(cat $level)"
echo "$before" >$level
mkdir remotes/rig-$$
echo /nowhere >remotes/rig-$$/url
refused '' sh -c "echo master >remotes/rig-$$/fetch"
rmdir remotes/rig-$$
mv $b ${b}2
same "$(cat ${b}2/head)" "$(cat ${b}2/head)"
[ ! -e $b ]
rmdir ${b}2 $a
[ ! -e $a ]
