. "$RIG/workloads/lib.sh"
scratch
: >file
mkdir folder
chmod 640 file
same 640 "$(stat -c %a file)"
chmod 755 file
same 755 "$(stat -c %a file)"
chmod 700 folder
same 700 "$(stat -c %a folder)"
same directory "$(stat -c %F folder)"
