// Package p9 is a client for 9P servers. The package supports 9P2000.u, 9P2000.L and 9P2000.
//
// Any number of goroutines may use a client at the same time. Their requests share one connection
// and are pipelined. If ctx is cancelled or expires during a call, the client sends Tflush and the
// call immediately returns the context's error.
//
// A path consists of names separated by slashes. A path is relative to the root of the tree, with
// or without a leading slash. A name must not be "." or "..".
//
// If the connection is lost, all calls fail with an error that matches ErrLost. The client does not
// reconnect.
package p9

import (
	"context"
	"errors"
	"strings"
)

// maxFile is the maximum size in bytes of a file that ReadFile reads.
const maxFile = 1<<31 - 1

// A Client is a 9P session on a connection.
type Client struct {
	conn *conn
	root *fid
}

// Dialect returns the negotiated dialect.
func (c *Client) Dialect() Dialect { return c.conn.dialect }

// MessageSize returns the negotiated maximum message size in bytes.
func (c *Client) MessageSize() uint32 { return c.conn.msize }

// Done returns a channel that is closed once the connection has been closed or lost. After that,
// Err returns the reason.
func (c *Client) Done() <-chan struct{} { return c.conn.ctx.Done() }

// Err returns the reason why the connection ended. Err returns nil while the connection is open.
func (c *Client) Err() error { return c.conn.lost() }

// Close closes the connection. Pending calls fail with an error that matches ErrLost.
func (c *Client) Close() error {
	c.conn.fail(ErrClosed)
	c.conn.running.Wait()
	return nil
}

// FidsInUse returns the number of fids in use, not counting the root. A fid is in use until the
// server has replied to the request that frees it.
func (c *Client) FidsInUse() int { return c.conn.fids.inUse() }

// RequestsInFlight returns the number of requests that have no reply yet, not counting Tclunk,
// Tremove and Tflush.
func (c *Client) RequestsInFlight() int { return c.conn.tags.inUse() }

// Names splits a path into its names. Names fails if a name is "." or "..", or contains a NUL byte.
func Names(path string) ([]string, error) {
	names := make([]string, 0, strings.Count(path, "/")+1)
	for _, name := range strings.Split(path, "/") {
		switch {
		case name == "":
		case name == "." || name == "..":
			return nil, errors.New("the names . and .. are not allowed")
		case strings.ContainsRune(name, 0):
			return nil, errors.New("a name must not contain a NUL byte")
		default:
			names = append(names, name)
		}
	}
	return names, nil
}

func baseName(path string) string {
	path = strings.TrimRight(path, "/")
	if path == "" {
		return "/"
	}
	return path[strings.LastIndexByte(path, '/')+1:]
}

// with walks to a path, calls f with the fid, and closes the fid unless f has closed it.
func (c *Client) with(ctx context.Context, op, path string, f func(*fid) error) error {
	names, err := Names(path)
	if err != nil {
		return pathError(op, path, err)
	}
	file, err := c.root.walk(ctx, names...)
	if err != nil {
		return pathError(op, path, err)
	}
	defer file.close()
	return pathError(op, path, f(file))
}

// withParent walks to the parent directory of a path, and calls f with the directory's fid and the
// last name in the path.
func (c *Client) withParent(ctx context.Context, op, path string, f func(dir *fid, name string) error) error {
	names, err := Names(path)
	if err == nil && len(names) == 0 {
		err = errors.New("the operation does not accept the root")
	}
	if err != nil {
		return pathError(op, path, err)
	}
	last := len(names) - 1
	dir, err := c.root.walk(ctx, names[:last]...)
	if err != nil {
		return pathError(op, path, err)
	}
	defer dir.close()
	return pathError(op, path, f(dir, names[last]))
}
