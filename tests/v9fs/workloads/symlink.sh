. "$RIG/workloads/lib.sh"
only 9p2000.L 9p2000.u
scratch
mkdir folder
echo content >folder/file
ln -s folder/file link
same folder/file "$(readlink link)"
same content "$(cat link)"
same "symbolic link" "$(stat -c %F link)"
ln -s folder way
same file "$(ls way/)"
ln -s missing dangling
refused "No such file" cat dangling
rm link way dangling
same folder "$(ls)"
same content "$(cat folder/file)"
