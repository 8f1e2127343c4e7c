# Lists a directory with so many long names that the listing requires multiple messages of 8 KiB.
. "$RIG/workloads/lib.sh"
scratch
same "" "$(ls)"
set +x
long=a-name-that-is-long-enough-to-fill-the-message-before-the-folder-ends
i=100; while [ $i -lt 250 ]; do : >$long-$i; i=$((i + 1)); done
set -x
mkdir folder
same 151 "$(ls | wc -l)"
same 151 "$(ls | sort -u | wc -l)"
same $long-249 "$(ls | grep -- -249)"
same "directory" "$(stat -c %F folder)"
same "regular empty file" "$(stat -c %F $long-100)"
refused "No such file" ls missing
refused "No such file" cat folder/missing
