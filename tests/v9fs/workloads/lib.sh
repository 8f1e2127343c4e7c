# Shared functions. Workloads run under `sh -eux` with the tree mounted on $TOP in the dialect
# $DIALECT. Exit status 77 means that a workload does not apply.

# scratch: creates an empty folder, enters it, and removes it at the end.
scratch() {
  own=$TOP/${DIR:-.}/rig.$$.$(date +%s)
  mkdir "$own"
  trap 'cd /; rm -rf "$own"' EXIT
  cd "$own"
}

# only DIALECT...: skips the workload in other dialects.
only() {
  case " $* " in *" $DIALECT "*) ;; *) exit 77;; esac
}

# needs PROGRAM...: skips the workload in a guest without these programs.
needs() {
  for program; do
    command -v "$program" >/dev/null || exit 77
  done
}

# refused TEXT COMMAND...: checks that the command fails with a message that contains TEXT.
refused() {
  text=$1; shift
  if said=$("$@" 2>&1); then return 1; fi
  case $said in *"$text"*) ;; *) return 1;; esac
}

# same WANTED GOT: checks that both are equal.
same() {
  [ "$1" = "$2" ]
}

# bytes COUNT: prints COUNT bytes, the same ones in each call, without long repetitions.
bytes() {
  seq 1 200000 | head -c "$1"
}

sum() {
  sha256sum | cut -d ' ' -f 1
}

size() {
  stat -c %s "$1"
}
