. "$RIG/workloads/lib.sh"
scratch
printf 0123456789 >file
truncate -s 4 file
same 0123 "$(cat file)"
truncate -s 6 file
same 6 "$(size file)"
same 303132330000 "$(od -An -tx1 file | tr -d ' ')"
: >file
same 0 "$(size file)"
same "" "$(cat file)"
# When the shell opens the file for output, it truncates the file.
echo long-content >file
echo s >file
same s "$(cat file)"
