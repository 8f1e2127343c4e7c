# Moves files to another directory. Only 9P2000.L has a message for this operation. In other dialects,
# `mv` copies the files.
. "$RIG/workloads/lib.sh"
scratch
mkdir from to
echo content >from/file
mv from/file to/renamed
same content "$(cat to/renamed)"
same "" "$(ls from)"
mkdir from/folder
echo deep >from/folder/file
mv from/folder to/folder
same deep "$(cat to/folder/file)"
same "" "$(ls from)"
# A directory cannot be moved into itself.
[ "$DIALECT" != 9p2000.L ] || refused "" mv to to/folder/inside
same "folder renamed" "$(echo $(ls to))"
