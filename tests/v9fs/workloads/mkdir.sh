. "$RIG/workloads/lib.sh"
scratch
mkdir folder
same directory "$(stat -c %F folder)"
refused "File exists" mkdir folder
: >file
refused "File exists" mkdir file
mkdir -p a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r
echo deep >a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/file
same deep "$(cat a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/file)"
refused "No such file" mkdir missing/folder
refused "Not a directory" mkdir file/folder
