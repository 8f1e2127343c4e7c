# Reads whatever is there, and changes nothing.
. "$RIG/workloads/lib.sh"
cd "$TOP"
ls -la
# A file only to be written is no failure; one that blocks is.
find . ${STREAM:+! -path "./$STREAM"} -type f -perm -400 | head -n 100 >/tmp/found
while read -r file; do
  head -c 65536 "$file" >/dev/null
done </tmp/found
refused "No such file" cat ./no-such-file
