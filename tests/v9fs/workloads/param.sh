# Reads the parameter $PARAM, sets it to $VALUE, and restores it.
. "$RIG/workloads/lib.sh"
[ -n "${PARAM:-}" ] || exit 77
cd "$TOP"
before=$(cat "$PARAM")
echo "$VALUE" >"$PARAM"
same "$VALUE" "$(cat "$PARAM")"
echo "$before" >"$PARAM"
same "$before" "$(cat "$PARAM")"
