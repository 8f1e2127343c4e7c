# Checks that a removed file remains usable while it is open.
. "$RIG/workloads/lib.sh"
scratch
printf 0123456789 >file
exec 3<>file
rm file
refused "No such file" cat file
same 0123 "$(dd bs=4 count=1 <&3 2>/dev/null)"
printf XY >&3
same 6789 "$(cat <&3)"
# A new file with the same name is a different file.
echo other >file
same other "$(cat file)"
exec 3>&-
same other "$(cat file)"
