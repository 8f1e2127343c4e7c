. "$RIG/workloads/lib.sh"
scratch
bytes 300000 >file
same 300000 "$(size file)"
same "$(bytes 300000 | sum)" "$(sum <file)"
# Read in the middle of the file and beyond its end.
same "$(bytes 300000 | tail -c +140001 | head -c 5000 | sum)" \
     "$(dd if=file bs=1000 skip=140 count=5 2>/dev/null | sum)"
same "$(bytes 300000 | tail -c 1000 | sum)" "$(dd if=file bs=1000 skip=299 count=9 2>/dev/null | sum)"
same "" "$(dd if=file bs=1000 skip=300 count=1 2>/dev/null)"
: >empty
same "" "$(cat empty)"
refused "Is a directory" cat .
