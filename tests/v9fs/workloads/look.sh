# Reads whatever is there, and changes nothing.
. /workloads/lib.sh
cd "$TOP"
ls -la
find . ${STREAM:+! -path "./$STREAM"} -type f | head -n 100 >/tmp/found
while read -r file; do
  # A file only to be written is no failure; one that blocks is.
  [ -r "$file" ] || continue
  timeout -s KILL 10 head -c 65536 "$file" >/dev/null
done </tmp/found
refused "No such file" cat ./no-such-file
