package datakit

import "context"

// A Branch is a branch of the database. It may have no commits yet.
type Branch struct {
	client *Client
	name   string
	// dir is the path of the branch's directory on the server.
	dir string
}

func newBranch(c *Client, name string) *Branch {
	return &Branch{client: c, name: name, dir: "branch/" + escaper.Replace(name)}
}

// Name returns the name of the branch.
func (b *Branch) Name() string { return b.name }

// Head returns the newest commit, or nil if the branch has no commits.
func (b *Branch) Head(ctx context.Context) (*Commit, error) {
	line, err := b.client.readText(ctx, b.dir+"/head")
	if err != nil {
		return nil, failed("head of", b.name, err)
	}
	return b.client.parseHead(line)
}

// Remove removes the branch. Its commits remain readable as long as they are reachable from another
// branch.
func (b *Branch) Remove(ctx context.Context) error {
	return failed("remove branch", b.name, b.client.files.Remove(ctx, b.dir))
}

// FastForward sets the head of the branch to commit. FastForward fails with ErrNotFastForward if
// the branch has a head and commit is not a descendant of that head, for example because another
// client has changed the branch.
func (b *Branch) FastForward(ctx context.Context, commit *Commit) error {
	err := b.client.command(ctx, b.dir+"/fast-forward", string(commit.hash))
	return failed("fast-forward", b.name, err)
}

// Update begins a transaction and calls f with it. If f returns an error or panics, the transaction
// is aborted. If f returns nil and has called neither Commit nor Abort, the transaction is aborted
// and Update fails with ErrTransactionOpen.
func (b *Branch) Update(ctx context.Context, f func(*Transaction) error) error {
	tx, err := b.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Abort()
	if err := f(tx); err != nil {
		return err
	}
	if !tx.Ended() {
		return failed("update", b.name, ErrTransactionOpen)
	}
	return nil
}

// WatchHead watches the head. The first value is the current head, and later values are new heads.
// A value is nil if the branch has no commits. If nothing receives from the watch, the watch skips
// heads.
func (b *Branch) WatchHead(ctx context.Context) (*Watch[*Commit], error) {
	return b.watchCommits(ctx, "head.live")
}

// Reflog watches every subsequent change of the head. A value is nil if the branch was removed. If
// nothing receives from the watch for a long time, the server ends the watch.
func (b *Branch) Reflog(ctx context.Context) (*Watch[*Commit], error) {
	return b.watchCommits(ctx, "reflog")
}

func (b *Branch) watchCommits(ctx context.Context, file string) (*Watch[*Commit], error) {
	parse := func(_ context.Context, line string) (*Commit, error) { return b.client.parseHead(line) }
	w, err := newWatch(ctx, b.client, b.dir+"/"+file, parse)
	return w, failed("watch", b.name, err)
}

// WatchPath watches a path. The first value is the current file, link or directory at the path, and
// each later value is its new state. A value is nil if the path does not exist. If nothing receives
// from the watch, the watch skips values.
func (b *Branch) WatchPath(ctx context.Context, path string) (*Watch[*Value], error) {
	if err := checkPath("watch", path); err != nil {
		return nil, err
	}
	w, err := newWatch(ctx, b.client, b.dir+"/"+watchFile(path), b.client.readValue)
	return w, failed("watch", b.name+" "+path, err)
}
