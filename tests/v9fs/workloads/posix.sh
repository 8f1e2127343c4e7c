# The calls of POSIX and Linux, with all their errors.
. "$RIG/workloads/lib.sh"
needs python3
scratch
set +x
python3 -B "$RIG/workloads/posix.py" || { set -x; exit 1; }
