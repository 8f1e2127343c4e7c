package p9

import (
	"errors"
	"fmt"
	"io/fs"
)

// Errors returned by this package. Use errors.Is to test for them. If a file does not exist, a name
// already exists or a permission is missing, the error matches fs.ErrNotExist, fs.ErrExist or
// fs.ErrPermission, respectively.
var (
	// ErrIsDir means that the path is a directory.
	ErrIsDir = errors.New("is a directory")
	// ErrNotDir means that the path, or one of its parents, is not a directory.
	ErrNotDir = errors.New("not a directory")
	// ErrNotEmpty means that a directory is not empty.
	ErrNotEmpty = errors.New("directory not empty")
	// ErrReadOnly means that a file, a directory or the entire tree is read-only.
	ErrReadOnly = errors.New("read-only file")
	// ErrUnsupported means that the server or the dialect does not support the operation.
	ErrUnsupported = errors.New("operation not supported")
	// ErrLost means that the connection was closed or lost. All later calls fail.
	ErrLost = errors.New("connection lost")
	// ErrProtocol means that the server violated the 9P protocol. The client closes the connection
	// after this error.
	ErrProtocol = errors.New("protocol violation")
	// ErrTooLong means that a file or directory listing exceeds one of this client's limits.
	ErrTooLong = errors.New("too long")
	// ErrClosed means that the file or the connection has already been closed.
	ErrClosed = fs.ErrClosed
)

// errLost is an internal error. conn.acquire replaces it with the reason why the connection ended.
var errLost = errors.New("connection ended")

// An Error is an error reply from the server.
type Error struct {
	// Errno is the Linux error number, or 0 if it is unknown. 9P2000 has no error numbers, so the
	// client derives the number from the text.
	Errno uint32
	// Text is the server's error text. 9P2000.L sends no text, so in this dialect Text is the usual
	// message for the error number.
	Text string
}

// Error returns the text.
func (e *Error) Error() string { return e.Text }

// Is reports whether target is the io/fs error, or the error of this package, that corresponds to
// the error number.
func (e *Error) Is(target error) bool {
	for _, row := range errnos {
		if row.errno == e.Errno {
			return row.kind != nil && row.kind == target
		}
	}
	return false
}

// errnos lists the common Linux error numbers, their usual messages and the Go errors that they
// match.
var errnos = []struct {
	errno uint32
	kind  error
	text  string
}{
	{1, fs.ErrPermission, "Operation not permitted"},
	{2, fs.ErrNotExist, "No such file or directory"},
	{5, nil, "Input/output error"},
	{9, nil, "Bad file descriptor"},
	{11, nil, "Resource temporarily unavailable"},
	{12, nil, "Cannot allocate memory"},
	{13, fs.ErrPermission, "Permission denied"},
	{16, nil, "Device or resource busy"},
	{17, fs.ErrExist, "File exists"},
	{18, nil, "Invalid cross-device link"},
	{20, ErrNotDir, "Not a directory"},
	{21, ErrIsDir, "Is a directory"},
	{22, fs.ErrInvalid, "Invalid argument"},
	{24, nil, "Too many open files"},
	{27, nil, "File too large"},
	{28, nil, "No space left on device"},
	{29, nil, "Illegal seek"},
	{30, ErrReadOnly, "Read-only file system"},
	{36, nil, "File name too long"},
	{38, ErrUnsupported, "Function not implemented"},
	{39, ErrNotEmpty, "Directory not empty"},
	{95, ErrUnsupported, "Operation not supported"},
	{110, nil, "Connection timed out"},
	{116, nil, "Stale file handle"},
}

// spellings maps other error messages to error numbers. It is needed because some servers send a
// message but no number.
var spellings = map[string]uint32{
	"Already exists":               17,
	"file already exists":          17,
	"file does not exist":          2,
	"file not found":               2,
	"permission denied":            13,
	"Is not a directory":           20,
	"not a directory":              20,
	"Can't walk from a file":       20,
	"Can't write to directories":   21,
	"Read-only file":               30,
	"Directory is read-only":       30,
	"Can only contain directories": 1,
}

// newError returns the error for a reply that may lack the number or the text.
func newError(errno uint32, text string) *Error {
	if errno == 0 {
		return &Error{Errno: errnoOf(text), Text: text}
	}
	if text == "" {
		return errorOf(errno)
	}
	return &Error{Errno: errno, Text: text}
}

// errorOf returns the error with the given number and its usual text.
func errorOf(errno uint32) *Error {
	for _, row := range errnos {
		if row.errno == errno {
			return &Error{Errno: errno, Text: row.text}
		}
	}
	return &Error{Errno: errno, Text: fmt.Sprintf("error number %d", errno)}
}

func errnoOf(text string) uint32 {
	for _, row := range errnos {
		if row.text == text {
			return row.errno
		}
	}
	return spellings[text]
}

// A lostError contains the reason why a connection ended.
type lostError struct {
	peer  string
	cause error
}

func (e *lostError) Error() string {
	return fmt.Sprintf("9p: the connection to %s is lost: %v", e.peer, e.cause)
}

func (e *lostError) Unwrap() error { return e.cause }

func (e *lostError) Is(target error) bool { return target == ErrLost }

// protocolError returns an error that matches ErrProtocol.
func protocolError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

// tooLong returns an error that matches ErrTooLong.
func tooLong(what string, limit int, unit string) error {
	return fmt.Errorf("9p: %s: %w: the limit is %d %s", what, ErrTooLong, limit, unit)
}
