. "$RIG/workloads/lib.sh"
scratch
echo content >file
touch -d @1000000000 file
same 1000000000 "$(stat -c %Y file)"
same content "$(cat file)"
touch file
[ "$(stat -c %Y file)" -gt 1000000000 ]
