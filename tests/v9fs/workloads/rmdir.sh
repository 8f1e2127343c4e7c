. "$RIG/workloads/lib.sh"
scratch
mkdir folder
: >folder/file
refused "Directory not empty" rmdir folder
same file "$(ls folder)"
rm folder/file
rmdir folder
same "" "$(ls)"
refused "No such file" rmdir folder
: >file
refused "Not a directory" rmdir file
