# Copies trees to the mounted file system and back with cp, tar and rsync, and compares the copies.
. "$RIG/workloads/lib.sh"
needs rsync tar
scratch

# The original tree and the final copy are outside the mounted file system.
from=/tmp/copies back=/tmp/back
rm -rf $from $back
mkdir -p $from/dir/below $from/empty $back
bytes 70000 >$from/large
echo one >$from/dir/one
echo two >$from/dir/below/two
: >$from/nothing
echo spaces >"$from/a name with spaces, and ü"
chmod 640 $from/dir/one
chmod 755 $from/dir/below/two
chmod 750 $from/empty
if [ "$DIALECT" != 9p2000 ]; then
  ln -s dir/one $from/link
  ln -s missing $from/dangling
fi
touch -h -d @1000000000 $from/dir/* $from/large $from/dir $from/empty

# listed TREE: prints the names, types and modes of all entries, the targets of links, and the sizes, times
# and hashes of files.
listed() {
  ( cd "$1"
    find . -mindepth 1 \( -type d -printf '%p %y %m\n' \) -o \( -type l -printf '%p %y %l\n' \) -o \
      -printf '%p %y %m %s %Ts\n' | sort
    find . -type f -exec sha256sum {} + | sort )
}

cp -a $from cp
same "$(listed $from)" "$(listed cp)"
tar -C $from -cf - . | { mkdir tar; tar -C tar -xpf -; }
same "$(listed $from)" "$(listed tar)"
tar -cf cp.tar cp
tar -df cp.tar
# 9P2000 cannot set a file's owner.
all=-a; [ "$DIALECT" != 9p2000 ] || all=-rlptD
rsync $all $from/ rsync
same "$(listed $from)" "$(listed rsync)"
# The second run of rsync copies nothing. The third run copies the changes made since the second run.
same '' "$(rsync $all --itemize-changes $from/ rsync | grep -v '/$')"
echo more >>$from/dir/one
rm $from/nothing
rsync $all --delete $from/ rsync
same "$(listed $from)" "$(listed rsync)"
rsync $all --inplace --checksum cp/ rsync
cp -a rsync/. $back
same "$(listed rsync)" "$(listed $back)"
mv cp moved
cp -a moved/. tar
diff -r --no-dereference moved tar
rm -r moved tar rsync cp.tar
same '' "$(ls)"
