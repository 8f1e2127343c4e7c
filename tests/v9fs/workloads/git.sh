# Creates, clones, packs and checks Git repositories in the mounted file system.
. "$RIG/workloads/lib.sh"
needs git
scratch
export GIT_CONFIG_GLOBAL=/tmp/gitconfig GIT_CONFIG_NOSYSTEM=1
git config --global user.name Rig
git config --global user.email rig@example.com
git config --global safe.directory '*'
git config --global init.defaultBranch main
git config --global gc.autoDetach false

git init -q origin
cd origin
mkdir src
for number in 1 2 3; do
  bytes $((number * 20000)) >src/file-$number
  echo "$number" >>log
  git add -A
  git commit -q -m "Commit $number"
done
chmod +x log
git commit -q -a -m 'Executable'
same '' "$(git status --porcelain)"
same 4 "$(git rev-list --count HEAD)"

git checkout -q -b side HEAD~2
echo side >side
git add side
git commit -q -m Side
git checkout -q main
git merge -q -m Merge side
git mv side moved
git commit -q -m Move

cd ..
git clone -q origin clone
git clone -q --bare origin bare.git
git -C clone gc -q --prune=now
git -C origin repack -q -a -d
for repository in origin clone bare.git; do
  git -C $repository fsck --strict --no-dangling
  same "$(git -C origin rev-parse HEAD)" "$(git -C $repository rev-parse HEAD)"
done
same "$(bytes 60000 | sum)" "$(sum <clone/src/file-3)"

# A push moves objects between directories. `git push` needs either hard links, which 9P2000.u and
# 9P2000.L support, or renames between directories, which only 9P2000.L supports.
only 9p2000.L 9p2000.u
echo pushed >clone/pushed
git -C clone add pushed
git -C clone commit -q -m Pushed
git -C clone push -q ../bare.git HEAD:main
git -C origin pull -q ../bare.git main
same pushed "$(cat origin/pushed)"
git -C origin worktree add -q ../tree side
same side "$(cat tree/side)"
git -C origin worktree remove ../tree
# When git renames a branch, it moves the branch's reflog to another directory and then to its new
# path. Only 9P2000.L supports such moves.
only 9p2000.L
git -C origin branch -m side other/side
same other/side "$(git -C origin branch --format='%(refname:short)' --list 'other/*')"
