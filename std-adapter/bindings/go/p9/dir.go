package p9

import (
	"context"
	"io/fs"
	"sort"
	"strings"
)

const (
	// maxNames is the maximum number of entries in a directory listing.
	maxNames = 1 << 20
	// maxListing is the maximum size in bytes of the encoded entries in a directory listing.
	maxListing = 1 << 28
)

// A DirEntry is a directory entry. It implements fs.DirEntry.
type DirEntry struct {
	name string
	mode fs.FileMode
	// Qid identifies the file.
	Qid Qid
	// stat is nil in 9P2000.L, because its listings do not contain attributes.
	stat *Stat
	// find reads the attributes if the listing does not contain them. find is nil in entries returned
	// by File.ReadDir.
	find func() (*Stat, error)
}

// Name returns the file's name without its directory.
func (e *DirEntry) Name() string { return e.name }

// IsDir reports whether the file is a directory.
func (e *DirEntry) IsDir() bool { return e.mode.IsDir() }

// Type returns the type bits of the mode.
func (e *DirEntry) Type() fs.FileMode { return e.mode.Type() }

// Stat returns the attributes from the listing. Stat returns nil in 9P2000.L, because its listings
// do not contain attributes.
func (e *DirEntry) Stat() *Stat { return e.stat }

// Info returns the attributes. In 9P2000.L, Info sends requests using the context that was passed
// to Client.ReadDir. For entries from File.ReadDir, it fails with ErrUnsupported in 9P2000.L.
func (e *DirEntry) Info() (fs.FileInfo, error) {
	if e.stat != nil {
		return e.stat, nil
	}
	if e.find == nil {
		return nil, pathError("stat", e.name, ErrUnsupported)
	}
	s, err := e.find()
	if err != nil {
		return nil, err
	}
	return s, nil
}

// readDir reads all entries in an open directory. The entries are in the server's order, without
// "." and "..".
func (f *fid) readDir(ctx context.Context) ([]*DirEntry, error) {
	if !f.qid.IsDir() {
		return nil, errorOf(20)
	}
	var entries []*DirEntry
	offset, size := int64(0), 0
	seen := map[int64]bool{}
	for {
		kind := byte(msgTread)
		if f.conn.dialect == DialectL {
			kind = msgTreaddir
		}
		data, err := f.readData(ctx, kind, int(f.iounit), offset)
		if err != nil {
			return nil, err
		}
		if len(data) == 0 {
			return entries, nil
		}
		seen[offset] = true
		size += len(data)
		var page []*DirEntry
		if page, offset, err = f.decodePage(data, offset); err != nil {
			return nil, err
		}
		entries = append(entries, page...)
		if len(entries) > maxNames {
			return nil, tooLong("a listing", maxNames, "names")
		}
		if size > maxListing {
			return nil, tooLong("a listing", maxListing, "bytes")
		}
		if seen[offset] {
			return nil, protocolError("a listing repeats the offset %d", offset)
		}
	}
}

// decodePage decodes the reply to a single read of a directory. decodePage returns the entries and
// the offset of the next read.
func (f *fid) decodePage(data []byte, offset int64) ([]*DirEntry, int64, error) {
	next := offset + int64(len(data))
	var page []*DirEntry
	for d := (&decoder{rest: data}); len(d.rest) > 0; {
		var e *DirEntry
		if f.conn.dialect == DialectL {
			e = &DirEntry{Qid: d.qid()}
			next = int64(d.u64())
			e.mode = direntMode(d.u8())
			e.name = d.str()
		} else {
			s := decodeStat(d, f.conn.dialect)
			e = &DirEntry{name: s.name, mode: s.mode, Qid: s.Qid, stat: s}
		}
		if d.bad {
			return nil, 0, f.conn.malformed(msgTread)
		}
		if e.name == "." || e.name == ".." {
			continue
		}
		// Callers walk to these names, so a name must not lead out of the directory.
		if e.name == "" || strings.ContainsAny(e.name, "/\x00") {
			return nil, 0, protocolError("a directory has an entry with the name %q", e.name)
		}
		page = append(page, e)
	}
	return page, next, nil
}

func sortEntries(entries []*DirEntry) {
	sort.Slice(entries, func(i, j int) bool { return entries[i].name < entries[j].name })
}
