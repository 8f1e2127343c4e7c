# Renames a closed file, an open file and a non-empty directory without moving them to another
# directory.
. "$RIG/workloads/lib.sh"
scratch
echo content >old
mv old new
refused "No such file" cat old
same content "$(cat new)"
same new "$(ls)"
exec 3<new
mv new newer
same content "$(cat <&3)"
exec 3<&-
mkdir -p folder/inner
echo deep >folder/inner/file
mv folder moved
same deep "$(cat moved/inner/file)"
refused "No such file" ls folder
refused "No such file" mv missing other
