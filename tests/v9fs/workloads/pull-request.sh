# Runs the commands from the README.md transcript that shows how to set a pull request's status.
# $GITHUB is set if a bridge connects the server to a fake GitHub server that contains this pull
# request.
. "$RIG/workloads/lib.sh"
[ -n "${GITHUB:-}" ] || exit 77
mnt=/tmp/pull-request
port=${OPTIONS#*port=}
mkdir -p $mnt
awk '/^\*\*Test pull requests on GitHub/ { section = 1 }
     section && /^```/ { if (inside) exit; inside = 1; next }
     inside' "$RIG/workloads/README.md" >/tmp/transcript
sed -n 's/^\$ //p' /tmp/transcript |
  sed "s|port=5640|port=${port%%,*}|; s| 127.0.0.1 | $HOST |; s|/mnt|$mnt|" >/tmp/commands
grep -q '^mount -t 9p ' /tmp/commands
grep -v '^\$ ' /tmp/transcript >/tmp/expected
trap "umount $mnt" EXIT
sh -eux /tmp/commands >/tmp/printed
diff /tmp/expected /tmp/printed
