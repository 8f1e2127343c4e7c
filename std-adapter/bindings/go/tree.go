package datakit

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"strconv"

	"github.com/datakit-rs/datakit/std-adapter/bindings/go/p9"
)

// A Kind is the type of a tree entry. Git distinguishes these four types.
type Kind int

// The kinds of entries.
const (
	// KindFile is a file that is not executable.
	KindFile Kind = iota
	// KindExec is an executable file.
	KindExec
	// KindLink is a symbolic link.
	KindLink
	// KindDir is a directory.
	KindDir
)

// String returns "file", "exec", "link" or "dir".
func (k Kind) String() string {
	switch k {
	case KindFile:
		return "file"
	case KindExec:
		return "exec"
	case KindLink:
		return "link"
	case KindDir:
		return "dir"
	}
	return "Kind(" + strconv.Itoa(int(k)) + ")"
}

// kindOfMode returns the kind that corresponds to a mode. The qid is not sufficient, because the
// original DataKit server's qids do not identify symbolic links.
func kindOfMode(mode fs.FileMode) Kind {
	switch {
	case mode.IsDir():
		return KindDir
	case mode&fs.ModeSymlink != 0:
		return KindLink
	case mode&0o100 != 0:
		return KindExec
	}
	return KindFile
}

// A Stat contains the attributes of a tree entry.
type Stat struct {
	Kind Kind
	// Size is the length in bytes. Size is 0 for directories.
	Size int64
}

// A Tree reads the files of a commit, a transaction, or an object with a given id. The path of the
// root is "". The root may be a file or a link.
//
// Once a transaction has ended, the methods of its trees fail with ErrTransactionEnded.
type Tree struct {
	client *Client
	// root is the tree's path on the server.
	root string
	// tx is the transaction to which the tree belongs, or nil.
	tx *Transaction
	// err is set if the tree's id is not valid.
	err error
}

// An entry is a file, link or directory in a tree, along with its attributes.
type entry struct {
	file *p9.File
	stat *p9.Stat
	kind Kind
	// changes is set if the content can change because the file is in a transaction.
	changes bool
}

// find walks to a path. The caller must release the file.
func (t *Tree) find(ctx context.Context, op, path string) (*entry, error) {
	if t.err != nil {
		return nil, t.err
	}
	if err := checkPath(op, path); err != nil {
		return nil, err
	}
	if t.tx != nil && t.tx.Ended() {
		return nil, failed(op, path, ErrTransactionEnded)
	}
	file, err := t.client.files.Walk(ctx, join(t.root, path))
	if err != nil {
		return nil, failed(op, path, err)
	}
	stat, err := file.Stat(ctx)
	if err != nil {
		file.Release()
		return nil, failed(op, path, err)
	}
	return &entry{file: file, stat: stat, kind: kindOfMode(stat.Mode()), changes: t.tx != nil}, nil
}

func join(dir, path string) string {
	if path == "" {
		return dir
	}
	return dir + "/" + path
}

// content reads a file.
func (e *entry) content(ctx context.Context) ([]byte, error) {
	if err := e.file.Open(ctx, p9.ReadOnly); err != nil {
		return nil, err
	}
	if e.changes {
		return e.file.ReadAll(ctx, math.MaxInt32)
	}
	return e.file.ReadKnown(ctx, math.MaxInt32, e.stat)
}

// names lists a directory.
func (e *entry) names(ctx context.Context) ([]string, error) {
	if err := e.file.Open(ctx, p9.ReadOnly); err != nil {
		return nil, err
	}
	entries, err := e.file.ReadDir(ctx)
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names, err
}

// Content is the content of a tree entry. Only the field for the entry's kind is set.
type Content struct {
	Kind Kind
	// File contains the bytes of a file.
	File []byte
	// Dir contains the sorted names in a directory.
	Dir []string
	// Link is the target of a symbolic link.
	Link string
}

// Read reads a tree entry of any kind.
func (t *Tree) Read(ctx context.Context, path string) (*Content, error) {
	e, err := t.find(ctx, "read", path)
	if err != nil {
		return nil, err
	}
	defer e.file.Release()
	content := &Content{Kind: e.kind}
	switch e.kind {
	case KindDir:
		content.Dir, err = e.names(ctx)
	case KindLink:
		content.Link, err = e.file.ReadLink(ctx, e.stat)
	default:
		content.File, err = e.content(ctx)
	}
	if err != nil {
		return nil, failed("read", path, err)
	}
	return content, nil
}

// ReadFile reads a file. The file may be executable. ReadFile fails with ErrNotFile if the path is
// a directory or a symbolic link.
func (t *Tree) ReadFile(ctx context.Context, path string) ([]byte, error) {
	e, err := t.find(ctx, "read", path)
	if err != nil {
		return nil, err
	}
	defer e.file.Release()
	if e.kind == KindDir || e.kind == KindLink {
		return nil, failed("read", path, ErrNotFile)
	}
	content, err := e.content(ctx)
	return content, failed("read", path, err)
}

// ReadDir returns the sorted names in a directory. ReadDir fails with ErrNotDir if the path is not
// a directory.
func (t *Tree) ReadDir(ctx context.Context, path string) ([]string, error) {
	e, err := t.find(ctx, "list", path)
	if err != nil {
		return nil, err
	}
	defer e.file.Release()
	if e.kind != KindDir {
		return nil, failed("list", path, ErrNotDir)
	}
	names, err := e.names(ctx)
	return names, failed("list", path, err)
}

// ReadLink returns the target of a symbolic link. ReadLink fails with ErrNotSymlink if the path is
// not a link.
func (t *Tree) ReadLink(ctx context.Context, path string) (string, error) {
	e, err := t.find(ctx, "readlink", path)
	if err != nil {
		return "", err
	}
	defer e.file.Release()
	if e.kind != KindLink {
		return "", failed("readlink", path, ErrNotSymlink)
	}
	target, err := e.file.ReadLink(ctx, e.stat)
	return target, failed("readlink", path, err)
}

// Stat returns the attributes of an entry. Stat fails with fs.ErrNotExist if the path does not
// exist, and with ErrNotDir if a component other than the last is not a directory.
func (t *Tree) Stat(ctx context.Context, path string) (Stat, error) {
	e, err := t.find(ctx, "stat", path)
	if err != nil {
		return Stat{}, err
	}
	defer e.file.Release()
	return Stat{Kind: e.kind, Size: e.stat.Size()}, nil
}

// Exists reports whether the path exists.
func (t *Tree) Exists(ctx context.Context, path string) (bool, error) {
	return t.test(ctx, path, func(Stat) bool { return true })
}

// ExistsFile reports whether the path exists and is not a directory.
func (t *Tree) ExistsFile(ctx context.Context, path string) (bool, error) {
	return t.test(ctx, path, func(s Stat) bool { return s.Kind != KindDir })
}

// ExistsDir reports whether the path exists and is a directory.
func (t *Tree) ExistsDir(ctx context.Context, path string) (bool, error) {
	return t.test(ctx, path, func(s Stat) bool { return s.Kind == KindDir })
}

func (t *Tree) test(ctx context.Context, path string, f func(Stat) bool) (bool, error) {
	s, err := t.Stat(ctx, path)
	if isAbsent(err) {
		return false, nil
	}
	return err == nil && f(s), err
}

// isAbsent reports whether an error means that a path does not exist.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrNotDir)
}
