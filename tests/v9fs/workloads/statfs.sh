# Checks `statfs`. In dialects other than 9P2000.L, the kernel sends no request to the server.
. "$RIG/workloads/lib.sh"
only 9p2000.L
[ "$(stat -f -c %S "$TOP")" -gt 0 ]
[ "$(stat -f -c %l "$TOP")" -gt 0 ]
df "$TOP"
