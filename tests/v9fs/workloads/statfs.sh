# In the other dialects the kernel invents the answer.
. "$RIG/workloads/lib.sh"
only 9p2000.L
[ "$(stat -f -c %S "$TOP")" -gt 0 ]
[ "$(stat -f -c %l "$TOP")" -gt 0 ]
df "$TOP"
