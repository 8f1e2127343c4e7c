# What the workloads share. They run under `sh -eux` with the tree mounted on
# $TOP in the dialect $DIALECT; status 77 says "does not apply".

# An empty folder of the workload's own, entered, and gone afterwards.
scratch() {
  own=$TOP/${DIR:-.}/rig.$$.$(date +%s)
  mkdir "$own"
  trap 'cd /; rm -rf "$own"' EXIT
  cd "$own"
}

# only DIALECT...: goes on in these alone.
only() {
  case " $* " in *" $DIALECT "*) ;; *) exit 77;; esac
}

# needs PROGRAM...: goes on only in a guest that has them.
needs() {
  for program; do
    command -v "$program" >/dev/null || exit 77
  done
}

# refused TEXT COMMAND...: the command fails, and says so.
refused() {
  text=$1; shift
  if said=$("$@" 2>&1); then return 1; fi
  case $said in *"$text"*) ;; *) return 1;; esac
}

# same WANTED GOT
same() {
  [ "$1" = "$2" ]
}

# bytes COUNT: the same bytes each time, none of them like its neighbours.
bytes() {
  seq 1 200000 | head -c "$1"
}

sum() {
  sha256sum | cut -d ' ' -f 1
}

size() {
  stat -c %s "$1"
}
