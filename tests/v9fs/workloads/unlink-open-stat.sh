# Checks that `fstat` works on an open file that has been removed.
. "$RIG/workloads/lib.sh"
scratch
printf 0123456789 >file
exec 3<>file
rm file
printf 0123456789ABCDEF >&3
same 16 "$(stat -L -c %s /proc/$$/fd/3)"
exec 3>&-
