package datakit

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync/atomic"
	"time"

	"github.com/datakit-rs/datakit/std-adapter/bindings/go/p9"
)

// A Transaction is a set of changes to a branch that are committed together or not at all. Other
// clients do not see the changes before the commit. A transaction starts from the current head of
// the branch. Commit merges the transaction with later changes to the branch.
//
// Call Commit or Abort to end a transaction. After that, all methods that send requests fail with
// ErrTransactionEnded. A transaction also ends when the connection closes.
type Transaction struct {
	branch *Branch
	client *Client
	// dir is the path of the transaction's directory.
	dir   string
	ended atomic.Bool
}

// abortTimeout is the maximum time that Abort waits for the server's reply.
const abortTimeout = 10 * time.Second

// beginTries is the maximum number of names that Begin tries.
const beginTries = 3

// Begin starts a transaction.
func (b *Branch) Begin(ctx context.Context) (*Transaction, error) {
	if err := ctx.Err(); err != nil {
		return nil, failed("begin", b.name, err)
	}
	type result struct {
		tx  *Transaction
		err error
	}
	results := make(chan result)
	// The request is not cancelled when ctx is done, because it may have created a transaction, which
	// would then have to be aborted.
	go func() {
		tx, err := b.begin(context.Background())
		select {
		case results <- result{tx, err}:
		case <-ctx.Done():
			if err == nil {
				tx.Abort()
			}
		}
	}()
	select {
	case r := <-results:
		return r.tx, failed("begin", b.name, r.err)
	case <-ctx.Done():
		return nil, failed("begin", b.name, ctx.Err())
	}
}

func (b *Branch) begin(ctx context.Context) (*Transaction, error) {
	for try := 1; ; try++ {
		tx := &Transaction{branch: b, client: b.client, dir: b.dir + "/transactions/" + uniqueName()}
		err := b.client.files.Mkdir(ctx, tx.dir, 0o755)
		if err == nil {
			return tx, nil
		}
		if !errors.Is(err, fs.ErrExist) || try == beginTries {
			return nil, err
		}
	}
}

// Branch returns the transaction's branch.
func (tx *Transaction) Branch() *Branch { return tx.branch }

// Ended reports whether the transaction has been committed or aborted.
func (tx *Transaction) Ended() bool { return tx.ended.Load() }

// Tree returns the tree of the transaction. Calls on this tree see all changes made so far.
func (tx *Transaction) Tree() *Tree { return tx.tree("rw") }

func (tx *Transaction) tree(name string) *Tree {
	return &Tree{client: tx.client, root: tx.dir + "/" + name, tx: tx}
}

// Read reads a file. Read is shorthand for Tree().ReadFile.
func (tx *Transaction) Read(ctx context.Context, path string) ([]byte, error) {
	return tx.Tree().ReadFile(ctx, path)
}

// Write creates or replaces a file, creating any missing parent directories. An executable file
// remains executable.
func (tx *Transaction) Write(ctx context.Context, path string, content []byte) error {
	err := tx.CreateOrReplaceFile(ctx, path, content)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		if err := tx.MakeDirs(ctx, path[:i]); err != nil {
			return err
		}
	}
	return tx.CreateFile(ctx, path, content, false)
}

// change calls f with the server path of an entry in the tree, unless the transaction has ended.
func (tx *Transaction) change(op, path string, f func(remote string) error) error {
	if err := checkEntry(op, path); err != nil {
		return err
	}
	if tx.Ended() {
		return failed(op, path, ErrTransactionEnded)
	}
	return failed(op, path, f(tx.dir+"/rw/"+path))
}

// CreateDir creates a directory. Git cannot store empty directories, so the commit omits
// directories without files. CreateDir fails with fs.ErrExist if the path exists, and with
// fs.ErrNotExist if the parent directory does not exist.
func (tx *Transaction) CreateDir(ctx context.Context, path string) error {
	return tx.change("create directory", path, func(remote string) error {
		return tx.client.files.Mkdir(ctx, remote, 0o755)
	})
}

// MakeDirs creates a directory and any missing parents. MakeDirs fails with ErrNotDir if the path
// or one of its parents exists and is not a directory. MakeDirs does nothing if the path is the
// root.
func (tx *Transaction) MakeDirs(ctx context.Context, path string) error {
	if path == "" {
		if tx.Ended() {
			return failed("create directories", path, ErrTransactionEnded)
		}
		return nil
	}
	return tx.change("create directories", path, func(string) error {
		return tx.client.files.MkdirAllBelow(ctx, tx.dir+"/rw", path, 0o755)
	})
}

func permissions(executable bool) fs.FileMode {
	if executable {
		return 0o755
	}
	return 0o644
}

// CreateFile creates a file, replacing any existing file or link. CreateFile fails with ErrIsDir if
// the path is a directory, and with fs.ErrNotExist if the parent directory does not exist.
func (tx *Transaction) CreateFile(ctx context.Context, path string, content []byte, executable bool) error {
	return tx.change("create", path, func(remote string) error {
		if err := tx.makeRoom(ctx, remote); err != nil {
			return err
		}
		file, err := tx.client.files.Create(ctx, remote, permissions(executable), p9.WriteOnly)
		if err != nil {
			return err
		}
		defer file.Release()
		if len(content) == 0 {
			return nil
		}
		return file.WriteAll(ctx, content)
	})
}

// makeRoom removes an existing file or link in 9P2000.L, because a create request in this dialect
// does not replace it. makeRoom does nothing in the other dialects.
func (tx *Transaction) makeRoom(ctx context.Context, remote string) error {
	if tx.client.files.Dialect() != p9.DialectL {
		return nil
	}
	s, err := tx.client.files.Stat(ctx, remote)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case s.IsDir():
		return ErrIsDir
	}
	return tx.client.files.Remove(ctx, remote)
}

// CreateSymlink creates a symbolic link, replacing any existing file or link. CreateSymlink fails
// in 9P2000, which has no symbolic links.
func (tx *Transaction) CreateSymlink(ctx context.Context, path, target string) error {
	return tx.change("create link", path, func(remote string) error {
		if err := tx.makeRoom(ctx, remote); err != nil {
			return err
		}
		return tx.client.files.Symlink(ctx, target, remote)
	})
}

// ReplaceFile replaces the content of an existing file. An executable file remains executable.
func (tx *Transaction) ReplaceFile(ctx context.Context, path string, content []byte) error {
	return tx.changeFile(ctx, "replace", path, func(file *p9.File) error {
		// Truncate with a separate request, because the original DataKit server ignores Topen's truncate
		// flag.
		if err := file.SetSize(ctx, 0); err != nil {
			return err
		}
		if err := file.Open(ctx, p9.WriteOnly); err != nil {
			return err
		}
		return file.WriteAll(ctx, content)
	})
}

// CreateOrReplaceFile replaces the content of a file or, if there is no such file, creates it. An
// executable file remains executable.
func (tx *Transaction) CreateOrReplaceFile(ctx context.Context, path string, content []byte) error {
	err := tx.ReplaceFile(ctx, path, content)
	if errors.Is(err, fs.ErrNotExist) {
		return tx.CreateFile(ctx, path, content, false)
	}
	return err
}

// SetExecutable sets whether a file is executable. If the path is a symbolic link, the link becomes
// a file that contains the link's target.
func (tx *Transaction) SetExecutable(ctx context.Context, path string, executable bool) error {
	return tx.changeFile(ctx, "chmod", path, func(file *p9.File) error {
		return file.Chmod(ctx, permissions(executable))
	})
}

// Truncate sets the length of a file in bytes. Truncate shortens the file or extends it with zeros.
func (tx *Transaction) Truncate(ctx context.Context, path string, length uint64) error {
	return tx.changeFile(ctx, "truncate", path, func(file *p9.File) error {
		return file.SetSize(ctx, length)
	})
}

// changeFile walks to a file without opening it and calls f with the file. changeFile fails if the
// path is a directory, because servers ignore some changes to directories.
func (tx *Transaction) changeFile(ctx context.Context, op, path string, f func(*p9.File) error) error {
	return tx.change(op, path, func(remote string) error {
		file, err := tx.client.files.Walk(ctx, remote)
		if err != nil {
			return err
		}
		defer file.Release()
		if file.Qid().IsDir() {
			return ErrIsDir
		}
		return f(file)
	})
}

// Remove removes a file, a link, or a directory and its contents.
func (tx *Transaction) Remove(ctx context.Context, path string) error {
	return tx.change("remove", path, func(remote string) error {
		return tx.client.files.Remove(ctx, remote)
	})
}

// Diff returns the changes from a commit to the transaction, sorted by path.
func (tx *Transaction) Diff(ctx context.Context, old *Commit) ([]Change, error) {
	text, err := tx.readControl(ctx, "diff", "diff/"+string(old.hash))
	if err != nil {
		return nil, err
	}
	return parseChanges(text)
}

// readControl reads a file in the transaction's directory.
func (tx *Transaction) readControl(ctx context.Context, op, name string) (string, error) {
	if tx.Ended() {
		return "", failed(op, tx.branch.name, ErrTransactionEnded)
	}
	text, err := tx.client.files.ReadFile(ctx, tx.dir+"/"+name)
	return string(text), failed(op, tx.branch.name, err)
}

// writeControl replaces the content of a file in the transaction's directory.
func (tx *Transaction) writeControl(ctx context.Context, op, name, content string) error {
	if tx.Ended() {
		return failed(op, tx.branch.name, ErrTransactionEnded)
	}
	return failed(op, tx.branch.name, tx.client.files.WriteFile(ctx, tx.dir+"/"+name, []byte(content)))
}
