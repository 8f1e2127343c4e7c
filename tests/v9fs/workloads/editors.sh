# Saves a file in the ways that editors do: in place, by renaming a new file, and with backup files
# and swap files.
. "$RIG/workloads/lib.sh"
scratch
printf 'one\ntwo\nthree\n' >file
chmod 640 file

sed -i 's/two/2/' file
same 'one 2 three' "$(echo $(cat file))"
sed -i.bak 's/2/two/' file
same 'one 2 three' "$(echo $(cat file.bak))"
same 'one two three' "$(echo $(cat file))"
same 640 "$(stat -c %a file)"
rm file.bak

# busybox's built-in ed, for which `command -v` prints no path, does not support the -s option.
case $(command -v ed) in /*)
  printf '1a\nfour\n.\nw\nq\n' | ed -s file
  same 'one four two three' "$(echo $(cat file))"
  printf '2d\nwq\n' | ed -s file
esac

# When it creates a backup, vim chooses a method itself (auto), copies the file (yes) or renames the
# file (no).
if command -v vim; then
  for copy in auto yes no; do
    vim -es -u NONE -N -c "set backup backupcopy=$copy swapfile directory=." \
      -c '%s/two/zwei/' -c wq file </dev/null
    same 'one zwei three' "$(echo $(cat file))"
    same 'one two three' "$(echo $(cat file~))"
    same 640 "$(stat -c %a file)"
    rm file~
    vim -es -u NONE -N -c '%s/zwei/two/' -c wq file </dev/null
  done
fi
if command -v perl; then
  perl -pi -e 's/three/3/' file
  same 'one two 3' "$(echo $(cat file))"
fi
same file "$(ls -A)"

# Many libraries write a temporary file, sync it, and rename it to the name of the old file.
if command -v python3; then
  python3 - <<'PYTHON'
import os, tempfile
for round in range(20):
    with tempfile.NamedTemporaryFile(dir=".", delete=False) as new:
        new.write(b"round %d\n" % round)
        new.flush()
        os.fsync(new.fileno())
    os.replace(new.name, "file")
    assert open("file").read() == f"round {round}\n"
PYTHON
  same 'round 19' "$(cat file)"
fi
same file "$(ls -A)"
