# Compares the results of random system calls on a file with a model, with and without the kernel's cache.
. "$RIG/workloads/lib.sh"
needs python3
scratch
random() {
  python3 -B "$RIG/workloads/fsx.py" "$@"
}
for seed in 1 2 3; do
  random file $seed 400
done
for cache in mmap loose; do
  mkdir -p /tmp/cached
  mount -t 9p -o "$OPTIONS,cache=$cache" "$HOST" /tmp/cached
  for seed in 4 5; do
    random /tmp/cached/${DIR:-.}/${own##*/}/file $seed 400 map || { umount /tmp/cached; exit 1; }
  done
  umount /tmp/cached
done
