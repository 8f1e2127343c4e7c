# Functions for the workloads. `sh -eux` runs each workload. $TOP is the directory on which the tree
# is mounted, and $DIALECT is the dialect. Exit status 77 means that the workload does not apply.

# scratch: creates an empty directory, changes to it, and removes it when the workload ends.
scratch() {
  own=$TOP/${DIR:-.}/rig.$$.$(date +%s)
  mkdir "$own"
  trap 'cd /; rm -rf "$own"' EXIT
  cd "$own"
}

# only DIALECT...: skips the workload unless the mount uses one of these dialects.
only() {
  case " $* " in *" $DIALECT "*) ;; *) exit 77;; esac
}

# needs PROGRAM...: skips the workload unless all of these programs are installed in the guest.
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

# same WANTED GOT: checks that the two strings are equal.
same() {
  [ "$1" = "$2" ]
}

# bytes COUNT: prints the first COUNT bytes of a fixed text that contains no long repetitions.
bytes() {
  seq 1 200000 | head -c "$1"
}

sum() {
  sha256sum | cut -d ' ' -f 1
}

size() {
  stat -c %s "$1"
}
