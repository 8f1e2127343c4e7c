package p9

import (
	"context"
	"errors"
	"io/fs"
	"strings"
)

// Walk finds a file without opening it. The caller must close the file.
func (c *Client) Walk(ctx context.Context, path string) (*File, error) {
	names, err := Names(path)
	if err != nil {
		return nil, pathError("walk", path, err)
	}
	file, err := c.root.walk(ctx, names...)
	if err != nil {
		return nil, pathError("walk", path, err)
	}
	return &File{fid: file, name: path}, nil
}

// Open opens a file. A directory can be opened only with ReadOnly. The caller must close the file.
func (c *Client) Open(ctx context.Context, path string, mode Mode) (*File, error) {
	file, err := c.Walk(ctx, path)
	if err != nil {
		return nil, err
	}
	if err := file.Open(ctx, mode); err != nil {
		file.Release()
		return nil, err
	}
	return file, nil
}

// Watch opens a stream file or a parameter. The deliveries of a parameter are its current value and
// each value that is set afterwards. The caller must call Release.
func (c *Client) Watch(ctx context.Context, path string) (*Deliveries, error) {
	file, err := c.Walk(ctx, path)
	if err != nil {
		return nil, err
	}
	// The append flag makes reads of a parameter wait for the next value. A server that supports the
	// flag only for writes may refuse to open the file.
	err = file.Open(ctx, ReadOnly|Append)
	var refused *Error
	if errors.As(err, &refused) {
		err = file.Open(ctx, ReadOnly)
	}
	if err != nil {
		file.Release()
		return nil, err
	}
	return file.Deliveries(), nil
}

// Create creates a file in an existing directory and opens it. In 9P2000.L, the call fails with
// fs.ErrExist if the file exists. In the other dialects, the server decides what happens to an
// existing file. The DataKit server truncates an existing file in a transaction's tree.
func (c *Client) Create(ctx context.Context, path string, perm fs.FileMode, mode Mode) (*File, error) {
	var file *File
	err := c.withParent(ctx, "create", path, func(dir *fid, name string) error {
		if err := dir.create(ctx, name, perm, mode); err != nil {
			return err
		}
		// The directory's fid now refers to the file.
		file = &File{fid: dir.take(), name: path}
		return nil
	})
	return file, err
}

// take returns a copy of the fid and marks the fid as closed. The caller must close the copy.
func (f *fid) take() *fid {
	f.closed.Store(true)
	return &fid{conn: f.conn, number: f.number, qid: f.qid, iounit: f.iounit}
}

// Mkdir creates a directory.
func (c *Client) Mkdir(ctx context.Context, path string, perm fs.FileMode) error {
	return c.withParent(ctx, "mkdir", path, func(dir *fid, name string) error {
		return dir.mkdir(ctx, name, perm)
	})
}

// MkdirAll creates a directory and any missing parents. MkdirAll succeeds if the directory already
// exists. MkdirAll fails with ErrNotDir if the path or one of its parents exists and is not a
// directory.
func (c *Client) MkdirAll(ctx context.Context, path string, perm fs.FileMode) error {
	return c.MkdirAllBelow(ctx, "", path, perm)
}

// MkdirAllBelow is like MkdirAll for a path below the existing directory dir.
func (c *Client) MkdirAllBelow(ctx context.Context, dir, path string, perm fs.FileMode) error {
	names, err := Names(path)
	if err != nil {
		return pathError("mkdir", path, err)
	}
	at := func(depth int) string { return dir + "/" + strings.Join(names[:depth], "/") }
	// Find the deepest directory that exists or can be created, then create its descendants.
	depth := len(names)
	for ; depth > 0; depth-- {
		err := c.Mkdir(ctx, at(depth), perm)
		if errors.Is(err, fs.ErrExist) {
			err = c.needDir(ctx, at(depth))
		}
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for depth++; depth <= len(names); depth++ {
		err := c.Mkdir(ctx, at(depth), perm)
		// Another client may have created the directory in the meantime.
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// needDir returns an error if the path is not a directory.
func (c *Client) needDir(ctx context.Context, path string) error {
	return c.with(ctx, "mkdir", path, func(file *fid) error {
		if !file.qid.IsDir() {
			return errorOf(20)
		}
		return nil
	})
}

// Remove removes a file or a directory. The server decides whether the directory must be empty.
// Once sent, the request is not cancelled. If ctx is done before the reply, the server may or may
// not have removed the file.
func (c *Client) Remove(ctx context.Context, path string) error {
	return c.with(ctx, "remove", path, func(file *fid) error { return file.remove(ctx) })
}

// Symlink creates a symbolic link. Symlink fails in 9P2000, which has no symbolic links.
func (c *Client) Symlink(ctx context.Context, target, path string) error {
	return c.withParent(ctx, "symlink", path, func(dir *fid, name string) error {
		return dir.symlink(ctx, name, target)
	})
}

// Rename renames a file within its directory.
func (c *Client) Rename(ctx context.Context, path, name string) error {
	if c.Dialect() == DialectL {
		return c.withParent(ctx, "rename", path, func(dir *fid, old string) error {
			r := dir.request(msgTrenmat).str(old).u32(dir.number).str(name)
			return dir.simple(ctx, r)
		})
	}
	return c.with(ctx, "rename", path, func(file *fid) error { return file.rename(ctx, name) })
}

// Stat reads the attributes of a file. Stat does not follow symbolic links.
func (c *Client) Stat(ctx context.Context, path string) (*Stat, error) {
	var s *Stat
	err := c.with(ctx, "stat", path, func(file *fid) (err error) {
		s, err = file.stat(ctx, baseName(path))
		return err
	})
	return s, err
}

// ReadLink reads the target of a symbolic link.
func (c *Client) ReadLink(ctx context.Context, path string) (string, error) {
	var target string
	err := c.with(ctx, "readlink", path, func(file *fid) error {
		s, err := file.stat(ctx, baseName(path))
		if err != nil {
			return err
		}
		if s.mode&fs.ModeSymlink == 0 {
			return errorOf(22)
		}
		target, err = file.readLink(ctx, s)
		return err
	})
	return target, err
}

// Truncate sets the length of a file, in bytes.
func (c *Client) Truncate(ctx context.Context, path string, size uint64) error {
	return c.with(ctx, "truncate", path, func(file *fid) error { return file.setSize(ctx, size) })
}

// Chmod sets the permissions of a file.
func (c *Client) Chmod(ctx context.Context, path string, perm fs.FileMode) error {
	return c.with(ctx, "chmod", path, func(file *fid) error { return file.setMode(ctx, perm) })
}

// ReadDir returns all entries in a directory, sorted by name.
func (c *Client) ReadDir(ctx context.Context, path string) ([]*DirEntry, error) {
	var entries []*DirEntry
	err := c.with(ctx, "readdir", path, func(file *fid) (err error) {
		if err = file.open(ctx, ReadOnly); err == nil {
			entries, err = file.readDir(ctx)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	sortEntries(entries)
	for _, e := range entries {
		below := strings.TrimRight(path, "/") + "/" + e.name
		e.find = func() (*Stat, error) { return c.Stat(ctx, below) }
	}
	return entries, nil
}

// ReadFile reads a file from its beginning until a read returns no data. For a stream file, it
// returns the first delivery (see Deliveries).
func (c *Client) ReadFile(ctx context.Context, path string) ([]byte, error) {
	return c.ReadFileLimit(ctx, path, maxFile)
}

// ReadFileLimit is like ReadFile but limits the number of bytes. If the file is longer, the error
// matches ErrTooLong.
func (c *Client) ReadFileLimit(ctx context.Context, path string, limit int) ([]byte, error) {
	var data []byte
	err := c.with(ctx, "read", path, func(file *fid) (err error) {
		if file.qid.IsDir() {
			return errorOf(21)
		}
		if err = file.open(ctx, ReadOnly); err == nil {
			data, err = file.readAll(ctx, limit)
		}
		return err
	})
	return data, err
}

// WriteFile replaces the content of an existing file. If the file is a command file, data must be a
// single command.
func (c *Client) WriteFile(ctx context.Context, path string, data []byte) error {
	return c.with(ctx, "write", path, func(file *fid) error {
		if file.qid.IsDir() {
			return errorOf(21)
		}
		// Truncate with a separate request, because some servers ignore Topen's truncate flag.
		if err := file.setSize(ctx, 0); err != nil {
			return err
		}
		if err := file.open(ctx, WriteOnly); err != nil {
			return err
		}
		if err := file.writeAll(ctx, data, 0, 1); err != nil {
			return err
		}
		return file.closeAndWait(ctx)
	})
}

// Command writes a command to a command file.
func (c *Client) Command(ctx context.Context, path, command string) error {
	return c.with(ctx, "write", path, func(file *fid) error {
		if err := file.command(ctx, command, WriteOnly); err != nil {
			return err
		}
		return file.closeAndWait(ctx)
	})
}

// CommandReply writes a command to a command file and reads the reply.
func (c *Client) CommandReply(ctx context.Context, path, command string) (string, error) {
	var reply []byte
	err := c.with(ctx, "write", path, func(file *fid) (err error) {
		if err = file.command(ctx, command, ReadWrite); err == nil {
			reply, err = file.readAll(ctx, maxDelivery)
		}
		return err
	})
	return string(reply), err
}

func (f *fid) command(ctx context.Context, command string, mode Mode) error {
	if f.qid.IsDir() {
		return errorOf(21)
	}
	if err := f.open(ctx, mode); err != nil {
		return err
	}
	return f.writeAll(ctx, []byte(command), 0, 1)
}
