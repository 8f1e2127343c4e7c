# Reads all files in the tree without changing anything.
. "$RIG/workloads/lib.sh"
cd "$TOP"
ls -la
# Skip write-only files and the stream. If reading any other file blocks, the workload fails.
find . ${STREAM:+! -path "./$STREAM"} -type f -perm -400 | head -n 100 >/tmp/found
while read -r file; do
  head -c 65536 "$file" >/dev/null
done </tmp/found
refused "No such file" cat ./no-such-file
