. "$RIG/workloads/lib.sh"
scratch
echo one >file
same one "$(cat file)"
same 4 "$(size file)"
echo two >file
same two "$(cat file)"
# A write in the middle of a file does not change the bytes before and after it.
printf 0123456789 >file
printf AB | dd of=file bs=1 seek=4 conv=notrunc 2>/dev/null
same 0123AB6789 "$(cat file)"
# A write beyond the end of a file creates a hole, which reads as zeros.
printf Z | dd of=file bs=1 seek=20 conv=notrunc 2>/dev/null
same 21 "$(size file)"
same 00000000000000000000 "$(tail -c 11 file | head -c 10 | od -An -tx1 | tr -d ' ')"
bytes 500000 | dd of=large bs=40000 2>/dev/null
same "$(bytes 500000 | sum)" "$(sum <large)"
