. "$RIG/workloads/lib.sh"
scratch
echo content >file
rm file
refused "No such file" cat file
refused "No such file" rm file
same "" "$(ls)"
# The name of a removed file can be reused, even for a different type of file.
mkdir file
rmdir file
echo again >file
same again "$(cat file)"
mkdir -p tree/a/b/c
echo leaf >tree/a/b/leaf
rm -r tree
same file "$(ls)"
