. "$RIG/workloads/lib.sh"
scratch
echo new >new
echo old >old
mv -f new old
same new "$(cat old)"
same old "$(ls)"
