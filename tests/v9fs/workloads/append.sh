. "$RIG/workloads/lib.sh"
scratch
echo one >>file
echo two >>file
echo three >>file
same "one two three" "$(echo $(cat file))"
same 14 "$(size file)"
# Append twice through the same open file.
exec 3>>file
echo four >&3
echo five >&3
exec 3>&-
same "one two three four five" "$(echo $(cat file))"
