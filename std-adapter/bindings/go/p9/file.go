package p9

import (
	"context"
	"errors"
	"io"
	"io/fs"
)

// A Mode specifies the access for which a file is opened.
type Mode byte

// The modes. Truncate can be added to WriteOnly and ReadWrite. Append makes the server write at the
// end of the file, regardless of the offset. ReadOnly|Append makes reads of a parameter wait for
// the next value (see Client.Watch).
const (
	ReadOnly  Mode = 0
	WriteOnly Mode = 1
	ReadWrite Mode = 2
	Truncate  Mode = 0x10
	Append    Mode = 0x80
)

// linux converts the mode to Tlopen flags.
func (m Mode) linux() uint32 {
	flags := uint32(m & 3)
	if m&Truncate != 0 {
		flags |= 0o1000
	}
	if m&Append != 0 {
		flags |= 0o2000
	}
	return flags
}

// A File is a file on the server. Client.Open and Client.Create return an open file. Client.Walk
// returns a file that is not open. A File uses a fid until it is closed. Any number of goroutines
// may use an open file at the same time, because every call passes an offset to the server.
type File struct {
	fid  *fid
	name string
}

// Name returns the path that was passed to Client.Open, Client.Create or Client.Walk.
func (f *File) Name() string { return f.name }

// Qid returns the qid, which identifies the file.
func (f *File) Qid() Qid { return f.fid.qid }

// Open opens a file that is not yet open.
func (f *File) Open(ctx context.Context, mode Mode) error {
	if err := f.check("open", 0); err != nil {
		return err
	}
	return f.wrap("open", f.fid.open(ctx, mode))
}

// ReadAll reads an open file from its beginning until a read returns no data. If the file has more
// than limit bytes, the error matches ErrTooLong.
func (f *File) ReadAll(ctx context.Context, limit int) ([]byte, error) {
	if err := f.check("read", 0); err != nil {
		return nil, err
	}
	data, err := f.fid.readAll(ctx, limit)
	return data, f.wrap("read", err)
}

// ReadKnown reads an open file whose content does not change, with several reads in flight. s
// contains the file's length. If the file has more than limit bytes, the error matches ErrTooLong.
func (f *File) ReadKnown(ctx context.Context, limit int, s *Stat) ([]byte, error) {
	if err := f.check("read", 0); err != nil {
		return nil, err
	}
	data, err := f.fid.readKnown(ctx, limit, s.size)
	return data, f.wrap("read", err)
}

// ReadDir reads all entries of an open directory, sorted by name.
func (f *File) ReadDir(ctx context.Context) ([]*DirEntry, error) {
	if err := f.check("readdir", 0); err != nil {
		return nil, err
	}
	entries, err := f.fid.readDir(ctx)
	sortEntries(entries)
	return entries, f.wrap("readdir", err)
}

// ReadLink returns the target of a symbolic link that is not open. The caller passes in the link's
// attributes.
func (f *File) ReadLink(ctx context.Context, s *Stat) (string, error) {
	if err := f.check("readlink", 0); err != nil {
		return "", err
	}
	target, err := f.fid.readLink(ctx, s)
	return target, f.wrap("readlink", err)
}

// ReadContext reads from a file at an offset. It sends one request. The server may return fewer
// bytes than len(p). At the end of the file, ReadContext returns io.EOF. Reading a stream file (see
// Deliveries) blocks until the server has new data.
func (f *File) ReadContext(ctx context.Context, p []byte, offset int64) (int, error) {
	if err := f.check("read", offset); err != nil || len(p) == 0 {
		return 0, err
	}
	n, err := f.fid.read(ctx, p, offset)
	if err == nil && n == 0 {
		return 0, io.EOF
	}
	return n, f.wrap("read", err)
}

// WriteContext writes all of p at an offset. If p does not fit into one message, WriteContext sends
// multiple messages.
func (f *File) WriteContext(ctx context.Context, p []byte, offset int64) (int, error) {
	if err := f.check("write", offset); err != nil {
		return 0, err
	}
	if err := f.fid.writeAll(ctx, p, offset, 1); err != nil {
		return 0, f.wrap("write", err)
	}
	return len(p), nil
}

// WriteAll writes all of p to an ordinary file, starting at its beginning, with several writes in
// flight. After an error, any part of p may have been written.
func (f *File) WriteAll(ctx context.Context, p []byte) error {
	if err := f.check("write", 0); err != nil {
		return err
	}
	return f.wrap("write", f.fid.writeAll(ctx, p, 0, window))
}

// ReadAt implements io.ReaderAt. ReadAt reads until p is full or the file ends.
func (f *File) ReadAt(p []byte, offset int64) (int, error) {
	n := 0
	for n < len(p) {
		m, err := f.ReadContext(context.Background(), p[n:], offset+int64(n))
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// WriteAt implements io.WriterAt.
func (f *File) WriteAt(p []byte, offset int64) (int, error) {
	return f.WriteContext(context.Background(), p, offset)
}

// Reader returns an io.Reader that starts at an offset. Its reads fail once ctx is done. Only one
// goroutine may use the reader at a time.
func (f *File) Reader(ctx context.Context, offset int64) io.Reader {
	return &fileReader{ctx, f, offset}
}

// Writer returns an io.Writer that starts at an offset. Its writes fail once ctx is done. Only one
// goroutine may use the writer at a time.
func (f *File) Writer(ctx context.Context, offset int64) io.Writer {
	return &fileWriter{ctx, f, offset}
}

// Stat reads the attributes.
func (f *File) Stat(ctx context.Context) (*Stat, error) {
	if err := f.check("stat", 0); err != nil {
		return nil, err
	}
	s, err := f.fid.stat(ctx, baseName(f.name))
	return s, f.wrap("stat", err)
}

// SetSize truncates the file or extends it with zeros.
func (f *File) SetSize(ctx context.Context, size uint64) error {
	if err := f.check("truncate", 0); err != nil {
		return err
	}
	return f.wrap("truncate", f.fid.setSize(ctx, size))
}

// Chmod sets the permissions.
func (f *File) Chmod(ctx context.Context, perm fs.FileMode) error {
	if err := f.check("chmod", 0); err != nil {
		return err
	}
	return f.wrap("chmod", f.fid.setMode(ctx, perm))
}

// Deliveries returns a reader for the pieces of text that a stream file sends. See the Deliveries
// type. The reader starts at offset 0. Only one goroutine may use the reader at a time, and no
// other goroutine may read the file meanwhile.
func (f *File) Deliveries() *Deliveries {
	return &Deliveries{file: f}
}

// Close closes the file and waits until the server has replied or the connection is lost. Close
// returns fs.ErrClosed if the file is already closed.
func (f *File) Close() error {
	return f.wrap("close", f.fid.closeAndWait(context.Background()))
}

// Release closes the file without waiting for the server. Release does nothing if the file is
// already closed.
func (f *File) Release() {
	f.fid.close()
}

func (f *File) check(op string, offset int64) error {
	if f.fid.closed.Load() {
		return f.wrap(op, ErrClosed)
	}
	if offset < 0 {
		return f.wrap(op, errors.New("negative offset"))
	}
	return nil
}

func (f *File) wrap(op string, err error) error {
	return pathError(op, f.name, err)
}

// pathError adds the operation and the path to an error.
func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

type fileReader struct {
	ctx    context.Context
	file   *File
	offset int64
}

func (r *fileReader) Read(p []byte) (int, error) {
	n, err := r.file.ReadContext(r.ctx, p, r.offset)
	r.offset += int64(n)
	return n, err
}

type fileWriter struct {
	ctx    context.Context
	file   *File
	offset int64
}

func (w *fileWriter) Write(p []byte) (int, error) {
	n, err := w.file.WriteContext(w.ctx, p, w.offset)
	w.offset += int64(n)
	return n, err
}
