package datakit

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"github.com/datakit-rs/datakit/std-adapter/bindings/go/p9"
)

// Errors returned by this package. Use errors.Is to test for them.
var (
	// ErrIsDir means that the path is a directory.
	ErrIsDir = p9.ErrIsDir
	// ErrNotDir means that the path, or one of its parents, is not a directory.
	ErrNotDir = p9.ErrNotDir
	// ErrNotFile means that the path is a directory or a symbolic link.
	ErrNotFile = errors.New("not a file")
	// ErrNotSymlink means that the path is not a symbolic link.
	ErrNotSymlink = errors.New("not a symbolic link")
	// ErrConflict means that the branch and the transaction both changed the same file. The
	// transaction is still open.
	ErrConflict = errors.New("merge conflict")
	// ErrOpenConflicts means that a merge left conflicts that have not been resolved. The transaction
	// is still open.
	ErrOpenConflicts = errors.New("conflicts of a merge are not resolved")
	// ErrNotFastForward means that the branch's head is not an ancestor of the commit. For a commit
	// with FastForwardOnly, it means that the branch has changed since the transaction began.
	ErrNotFastForward = errors.New("not a fast-forward")
	// ErrInvalidHash means that a string is not a hash. A hash has 40 lower-case hexadecimal digits.
	ErrInvalidHash = errors.New("invalid hash")
	// ErrInvalidBranch means that a string is not a valid Git branch name.
	ErrInvalidBranch = errors.New("invalid branch name")
	// ErrInvalidPath means that a path contains a forbidden name or that the operation does not accept
	// the root.
	ErrInvalidPath = errors.New("invalid path")
	// ErrTransactionEnded means that the transaction has already been committed or aborted.
	ErrTransactionEnded = errors.New("the transaction has ended")
	// ErrTransactionOpen means that the function passed to Branch.Update returned nil without
	// committing or aborting the transaction.
	ErrTransactionOpen = errors.New("the transaction was neither committed nor aborted")
	// ErrStreamEnded means that the server ended a stream, for example because the client read too
	// slowly.
	ErrStreamEnded = errors.New("the server ended the stream")
)

// An Error records a failed operation. Error adds the operation and its object to the underlying
// error.
type Error struct {
	// Op is the operation, for example "commit".
	Op string
	// Object is the path, branch or hash to which the operation was applied.
	Object string
	// Err is the reason.
	Err error
	// kind is the error of this package that Err matches, or nil.
	kind error
}

// Error returns the operation, the object and the reason as a string.
func (e *Error) Error() string {
	if e.Object == "" {
		return e.Op + ": " + e.Err.Error()
	}
	return e.Op + " " + e.Object + ": " + e.Err.Error()
}

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is the kind of the error.
func (e *Error) Is(target error) bool { return e.kind != nil && e.kind == target }

// failed wraps an error in an Error with the operation and its object. It omits the path on the
// server.
func failed(op, object string, err error) error {
	if err == nil {
		return nil
	}
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	// The path on the server would repeat the object.
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	e := &Error{Op: op, Object: object, Err: err}
	var reply *p9.Error
	if errors.As(err, &reply) {
		e.kind = kindOf(reply.Text)
	}
	return e
}

// kindOf returns the error of this package that corresponds to an error message from the database,
// or nil if there is none. The database does not send specific error numbers for these errors.
func kindOf(text string) error {
	switch {
	case strings.HasPrefix(text, "Merge conflict: "):
		return ErrConflict
	case strings.HasPrefix(text, "conflicts file is not empty"):
		return ErrOpenConflicts
	case strings.HasPrefix(text, "not-fast-forward"):
		return ErrNotFastForward
	case strings.HasPrefix(text, "invalid-hash "):
		return ErrInvalidHash
	case strings.HasPrefix(text, "invalid branch name "):
		return ErrInvalidBranch
	case strings.HasSuffix(text, " is not a directory"):
		return ErrNotDir
	}
	return nil
}

// explain adds the reason to a 9P2000.L error, because an error reply in this dialect contains only
// a number. The command file contains the reason.
func (c *Client) explain(ctx context.Context, path string, err error) error {
	var reply *p9.Error
	if c.files.Dialect() != p9.DialectL || !errors.As(err, &reply) {
		return err
	}
	text, readErr := c.readText(ctx, path)
	if readErr != nil {
		return err
	}
	for _, line := range lines(text) {
		if kindOf(line) != nil {
			return &p9.Error{Errno: reply.Errno, Text: line}
		}
	}
	return err
}

// command writes a command to one of the database's command files.
func (c *Client) command(ctx context.Context, path, command string) error {
	return c.explain(ctx, path, c.files.Command(ctx, path, command))
}

// explainedCommand writes a command to a file that contains the reason for the last failure. If the
// command fails, the returned error contains that reason, because an error reply contains only the
// beginning of the reason, or no text at all in 9P2000.L.
func (c *Client) explainedCommand(ctx context.Context, path, command string) error {
	err := c.files.Command(ctx, path, command)
	var reply *p9.Error
	if !errors.As(err, &reply) {
		return err
	}
	reason, readErr := c.readText(ctx, path)
	reason = strings.TrimRight(reason, " \n")
	// The original DataKit server does not explain failures.
	if readErr != nil || reason == "" {
		return err
	}
	return &p9.Error{Errno: reply.Errno, Text: reason}
}

// invalid returns the error for an invalid argument. No request was sent to the server.
func invalid(op, object, reason string, kind error) error {
	return &Error{Op: op, Object: object, Err: errors.New(reason), kind: kind}
}
