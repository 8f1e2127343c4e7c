package datakit

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/datakit-rs/datakit/std-adapter/bindings/go/p9"
)

// FS returns the tree as an fs.FS. The file system also implements fs.ReadDirFS, fs.StatFS and
// fs.ReadFileFS, and its files implement io.ReaderAt and io.Seeker. Once ctx is done, all calls to
// the file system and its files fail.
//
// Like os.DirFS, the file system follows symbolic links. A call fails if a link points outside the
// tree. Errors are of type *fs.PathError.
func (t *Tree) FS(ctx context.Context) *FS {
	return &FS{ctx: ctx, tree: t}
}

// An FS is a file system that contains the files of a tree.
type FS struct {
	ctx  context.Context
	tree *Tree
}

var (
	_ fs.ReadDirFS  = (*FS)(nil)
	_ fs.StatFS     = (*FS)(nil)
	_ fs.ReadFileFS = (*FS)(nil)
)

// maxLinks is the maximum number of symbolic links that resolve follows for one path.
const maxLinks = 40

// Open opens a file or a directory.
func (f *FS) Open(name string) (fs.File, error) {
	e, err := f.resolve("open", name)
	if err != nil {
		return nil, err
	}
	if err := e.file.Open(f.ctx, p9.ReadOnly); err != nil {
		e.file.Release()
		return nil, fsError("open", name, err)
	}
	return &fsFile{fs: f, name: name, file: e.file, info: fileInfo{e.stat, path.Base(name)}}, nil
}

// Stat reads the attributes of a file.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	e, err := f.resolve("stat", name)
	if err != nil {
		return nil, err
	}
	e.file.Release()
	return fileInfo{e.stat, path.Base(name)}, nil
}

// ReadFile reads a file.
func (f *FS) ReadFile(name string) ([]byte, error) {
	e, err := f.resolve("read", name)
	if err != nil {
		return nil, err
	}
	defer e.file.Release()
	if e.kind == KindDir {
		return nil, fsError("read", name, ErrIsDir)
	}
	content, err := e.content(f.ctx)
	if err != nil {
		return nil, fsError("read", name, err)
	}
	return content, nil
}

// ReadDir returns the entries of a directory, sorted by name.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	file, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return file.(*fsFile).ReadDir(-1)
}

// resolve finds a file, following symbolic links. The caller must release the file.
func (f *FS) resolve(op, name string) (*entry, error) {
	if !fs.ValidPath(name) {
		return nil, fsError(op, name, fs.ErrInvalid)
	}
	at := name
	for links := 0; links <= maxLinks; links++ {
		e, err := f.tree.find(f.ctx, op, treePath(at))
		if err == nil && e.kind != KindLink {
			return e, nil
		}
		if err != nil && !errors.Is(err, ErrNotDir) {
			return nil, fsError(op, name, err)
		}
		if err == nil {
			e.file.Release()
		}
		// The path or a directory in it may be a symbolic link.
		if at, err = f.followFirst(op, at); err != nil {
			return nil, fsError(op, name, err)
		}
	}
	return nil, fsError(op, name, errors.New("too many symbolic links"))
}

// followFirst replaces the first symbolic link in a path with its target.
func (f *FS) followFirst(op, name string) (string, error) {
	names := strings.Split(name, "/")
	for i := range names {
		link := strings.Join(names[:i+1], "/")
		e, err := f.tree.find(f.ctx, op, link)
		if err != nil {
			return "", err
		}
		if e.kind == KindDir {
			e.file.Release()
			continue
		}
		if e.kind != KindLink {
			e.file.Release()
			return "", ErrNotDir
		}
		target, err := e.file.ReadLink(f.ctx, e.stat)
		e.file.Release()
		if err != nil {
			return "", err
		}
		to := path.Join(append([]string{path.Dir(link), target}, names[i+1:]...)...)
		if path.IsAbs(target) || !fs.ValidPath(to) {
			return "", errors.New("the symbolic link " + link + " leads out of the tree")
		}
		return to, nil
	}
	return "", ErrNotDir
}

// treePath converts an io/fs path to a path in a tree. In io/fs, the root is ".".
func treePath(name string) string {
	if name == "." {
		return ""
	}
	return name
}

// fsError returns a *fs.PathError with the reason from err.
func fsError(op, name string, err error) error {
	var e *Error
	if errors.As(err, &e) && e.kind == nil {
		err = e.Err
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// A fileInfo contains the attributes of a file and the name with which the file was opened. For the
// root and for a file reached through a link, this name differs from the name in the attributes.
type fileInfo struct {
	*p9.Stat
	name string
}

func (i fileInfo) Name() string { return i.name }

// readAhead is the minimum number of bytes that an fsFile requests from the server, even if the
// caller asks for fewer.
const readAhead = 8 << 10

// An fsFile is an open file or directory. Only one goroutine may call Read, Seek or ReadDir at a
// time.
type fsFile struct {
	fs     *FS
	name   string
	file   *p9.File
	info   fileInfo
	offset int64
	// ahead contains the bytes, starting at offset, that the client has received but not yet returned.
	ahead []byte
	// entries contains the directory entries that ReadDir has not yet returned,
	entries []*p9.DirEntry
	listed  bool
}

func (f *fsFile) Stat() (fs.FileInfo, error) { return f.info, nil }

func (f *fsFile) Close() error {
	return f.wrap("close", f.file.Close())
}

func (f *fsFile) Read(p []byte) (int, error) {
	if f.info.IsDir() {
		return 0, f.wrap("read", ErrIsDir)
	}
	if len(f.ahead) == 0 && len(p) >= readAhead {
		n, err := f.file.ReadContext(f.fs.ctx, p, f.offset)
		f.offset += int64(n)
		return n, f.wrap("read", err)
	}
	if len(f.ahead) == 0 {
		buffer := make([]byte, readAhead)
		n, err := f.file.ReadContext(f.fs.ctx, buffer, f.offset)
		if err != nil {
			return 0, f.wrap("read", err)
		}
		f.ahead = buffer[:n]
	}
	n := copy(p, f.ahead)
	f.ahead = f.ahead[n:]
	f.offset += int64(n)
	return n, nil
}

func (f *fsFile) ReadAt(p []byte, offset int64) (int, error) {
	if f.info.IsDir() {
		return 0, f.wrap("read", ErrIsDir)
	}
	n := 0
	for n < len(p) {
		m, err := f.file.ReadContext(f.fs.ctx, p[n:], offset+int64(n))
		n += m
		if err != nil {
			return n, f.wrap("read", err)
		}
	}
	return n, nil
}

func (f *fsFile) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += f.offset
	case io.SeekEnd:
		offset += f.info.Size()
	default:
		return 0, f.wrap("seek", fs.ErrInvalid)
	}
	if offset < 0 || f.info.IsDir() {
		return 0, f.wrap("seek", fs.ErrInvalid)
	}
	f.offset, f.ahead = offset, nil
	return offset, nil
}

// ReadDir implements fs.ReadDirFile. The entries are sorted by name.
func (f *fsFile) ReadDir(n int) ([]fs.DirEntry, error) {
	if !f.info.IsDir() {
		return nil, f.wrap("readdir", ErrNotDir)
	}
	if !f.listed {
		entries, err := f.file.ReadDir(f.fs.ctx)
		if err != nil {
			return nil, f.wrap("readdir", err)
		}
		f.entries, f.listed = entries, true
	}
	if n > 0 && len(f.entries) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(f.entries) {
		n = len(f.entries)
	}
	list := make([]fs.DirEntry, n)
	for i, e := range f.entries[:n] {
		list[i] = &dirEntry{e, f}
	}
	f.entries = f.entries[n:]
	return list, nil
}

func (f *fsFile) wrap(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return fsError(op, f.name, err)
}

// A dirEntry is a directory entry. If the listing does not contain the attributes, Info requests
// them.
type dirEntry struct {
	*p9.DirEntry
	dir *fsFile
}

func (e *dirEntry) Info() (fs.FileInfo, error) {
	if s := e.Stat(); s != nil {
		return s, nil
	}
	found, err := e.dir.fs.tree.find(e.dir.fs.ctx, "stat", treePath(path.Join(e.dir.name, e.Name())))
	if err != nil {
		return nil, fsError("stat", e.Name(), err)
	}
	found.file.Release()
	return found.stat, nil
}
