# Checks POSIX and Linux system calls and their errors.
. "$RIG/workloads/lib.sh"
needs python3
scratch
set +x
python3 -B "$RIG/workloads/posix.py" || { set -x; exit 1; }
