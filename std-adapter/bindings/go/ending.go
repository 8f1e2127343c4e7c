package datakit

import (
	"context"
	"errors"
	"io/fs"
	"sort"
	"strings"

	"github.com/datakit-rs/datakit/std-adapter/bindings/go/p9"
)

// CommitOptions contains the options of CommitWith.
type CommitOptions struct {
	// FastForwardOnly makes the commit fail with ErrNotFastForward if the head of the branch has
	// changed since the transaction began. If multiple such transactions begin at the same head, only
	// one of them can succeed.
	FastForwardOnly bool
	// IfChanged skips the commit if the tree is identical to the tree of the head.
	IfChanged bool
}

// Commit commits the changes and returns the new head of the branch, which is a merge commit if the
// branch has changed since the transaction began. A successful commit ends the transaction.
//
// Commit fails with ErrConflict if the branch and the transaction both changed the same file, with
// ErrOpenConflicts if a merge left conflicts that have not been resolved, and with fs.ErrNotExist
// if a parent does not exist. After any of these errors, the transaction is still open. If ctx is
// done before the server replies, the caller cannot know whether the changes were committed.
func (tx *Transaction) Commit(ctx context.Context, message string) (*Commit, error) {
	return tx.CommitWith(ctx, message, CommitOptions{})
}

// CommitWith is like Commit but takes options.
func (tx *Transaction) CommitWith(ctx context.Context, message string, options CommitOptions) (*Commit, error) {
	if err := tx.writeControl(ctx, "commit", "msg", message); err != nil {
		return nil, err
	}
	command := "commit id"
	if options.FastForwardOnly {
		command += " ff-only"
	}
	if options.IfChanged {
		command += " if-changed"
	}
	head, err := tx.client.files.CommandReply(ctx, tx.dir+"/ctl", command)
	var refused *p9.Error
	if !options.FastForwardOnly && errors.As(err, &refused) && strings.HasPrefix(refused.Text, "Unknown command ") {
		// The original DataKit server does not support the options and does not reply with the new head.
		head, err = "", tx.client.command(ctx, tx.dir+"/ctl", "commit")
	}
	if err != nil {
		return nil, failed("commit", tx.branch.name, tx.client.explain(ctx, tx.dir+"/ctl", err))
	}
	tx.ended.Store(true)
	if strings.TrimSpace(head) != "" {
		return tx.client.parseCommit(head)
	}
	return tx.branch.Head(ctx)
}

// Abort ends the transaction without committing it. Abort waits at most 10 seconds for the server's
// reply. Abort does nothing if the transaction has already ended. Abort returns no error, because
// the server also ends the transaction when the connection closes.
func (tx *Transaction) Abort() {
	if tx.ended.Swap(true) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), abortTimeout)
	defer cancel()
	_ = tx.client.files.Command(ctx, tx.dir+"/ctl", "close")
}

// Parents returns the parents that the new commit will have: the commit from which the transaction
// started, followed by the merged commits.
func (tx *Transaction) Parents(ctx context.Context) ([]*Commit, error) {
	text, err := tx.readControl(ctx, "parents", "parents")
	if err != nil {
		return nil, err
	}
	return tx.client.parseCommits(text)
}

// SetParents sets the parents of the new commit. It changes no files.
func (tx *Transaction) SetParents(ctx context.Context, parents []*Commit) error {
	var text strings.Builder
	for _, parent := range parents {
		text.WriteString(string(parent.hash) + "\n")
	}
	return tx.writeControl(ctx, "set parents", "parents", text.String())
}

// SetAuthor sets the author of the commit. The author has the form NAME <EMAIL>.
func (tx *Transaction) SetAuthor(ctx context.Context, author string) error {
	return tx.writeControl(ctx, "set author", "author", author)
}

// A Merge is the result of a merge into a transaction. Its trees can be read until the next merge
// or until the transaction ends.
type Merge struct {
	// Ours is the tree of the transaction before the merge, Theirs is the tree of the merged commit,
	// and Base is the tree of their common ancestor. Base is empty if there is no common ancestor.
	Ours, Theirs, Base *Tree
	// Conflicts contains the sorted paths of the conflicting files. Write or remove each of these
	// files before committing.
	Conflicts []string
}

// Merge merges a commit into the transaction and adds it to the parents. Conflicts are not an
// error. Merge fails with ErrOpenConflicts if the previous merge left conflicts that have not been
// resolved.
func (tx *Transaction) Merge(ctx context.Context, theirs *Commit) (*Merge, error) {
	if tx.Ended() {
		return nil, failed("merge", theirs.String(), ErrTransactionEnded)
	}
	err := tx.client.command(ctx, tx.dir+"/merge", string(theirs.hash))
	if err != nil {
		return nil, failed("merge", theirs.String(), err)
	}
	conflicts, err := tx.Conflicts(ctx)
	if err != nil {
		return nil, err
	}
	return &Merge{
		Ours:      tx.tree("ours"),
		Theirs:    tx.tree("theirs"),
		Base:      tx.tree("base"),
		Conflicts: conflicts,
	}, nil
}

// Conflicts returns the sorted paths of the files that are still in conflict. Writing or removing a
// file resolves its conflict.
func (tx *Transaction) Conflicts(ctx context.Context) ([]string, error) {
	text, err := tx.readControl(ctx, "conflicts", "conflicts")
	// The server does not create the conflicts file until the first merge.
	if errors.Is(err, fs.ErrNotExist) {
		return []string{}, nil
	}
	if err != nil {
		return nil, err
	}
	paths := append([]string{}, lines(text)...)
	sort.Strings(paths)
	return paths, nil
}

// inBackground calls f in a new goroutine with a context that expires after abortTimeout.
func inBackground(f func(context.Context)) {
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), abortTimeout)
		defer cancel()
		f(ctx)
	}()
}
