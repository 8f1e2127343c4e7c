package p9

import (
	"io/fs"
	"time"
)

// A Qid identifies a file on the server.
type Qid struct {
	// Type contains the upper bits of the mode, such as the directory or symbolic link bit.
	Type byte
	// Version changes when the content changes. Version is 0 if the file has no versions.
	Version uint32
	// Path is a number that uniquely identifies the file on the server.
	Path uint64
}

// Bits of Qid.Type.
const (
	qidDir  = 0x80
	qidLink = 0x02
)

// IsDir reports whether the file is a directory.
func (q Qid) IsDir() bool { return q.Type&qidDir != 0 }

// Mode bits in 9P2000 and 9P2000.u.
const (
	modeDir     = 0x8000_0000
	modeAppend  = 0x4000_0000
	modeExcl    = 0x2000_0000
	modeTmp     = 0x0400_0000
	modeSymlink = 0x0200_0000
	modeDevice  = 0x0080_0000
	modePipe    = 0x0020_0000
	modeSocket  = 0x0010_0000
)

// A Stat contains the attributes of a file. It implements fs.FileInfo.
type Stat struct {
	name   string
	size   uint64
	mode   fs.FileMode
	mtime  time.Time
	target string
	// Qid identifies the file.
	Qid Qid
	// Owner is the name of the owner. It is empty in 9P2000.L.
	Owner string
}

// Name returns the last component of the path that was used to find the file.
func (s *Stat) Name() string { return s.name }

// Size returns the length of the content in bytes. Size returns 0 for directories.
func (s *Stat) Size() int64 {
	if s.mode.IsDir() || int64(s.size) < 0 {
		return 0
	}
	return int64(s.size)
}

// Mode returns the type and the permissions.
func (s *Stat) Mode() fs.FileMode { return s.mode }

// ModTime returns the time of the last change, if the server records it.
func (s *Stat) ModTime() time.Time { return s.mtime }

// IsDir reports whether the file is a directory.
func (s *Stat) IsDir() bool { return s.mode.IsDir() }

// Sys returns the Qid.
func (s *Stat) Sys() any { return s.Qid }

// Target returns the target of a symbolic link if the server sent it with the other attributes.
func (s *Stat) Target() string { return s.target }

// decodeStat decodes a stat record and the length that precedes it, as in Rstat and in directory
// listings.
func decodeStat(d *decoder, dialect Dialect) *Stat {
	in := &decoder{rest: d.take(int(d.u16())), bad: d.bad}
	in.u16() // type
	in.u32() // dev
	s := &Stat{Qid: in.qid()}
	s.mode = fileMode(in.u32())
	in.u32() // atime
	s.mtime = time.Unix(int64(in.u32()), 0)
	s.size = in.u64()
	s.name = in.str()
	s.Owner = in.str()
	in.str() // gid
	in.str() // muid
	if dialect == DialectU {
		s.target = in.str()
		in.take(12) // the numbers of uid, gid and muid
	}
	if !in.complete() {
		d.bad = true
	}
	return s
}

// fileMode converts a 9P2000 or 9P2000.u mode.
func fileMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	for _, bit := range []struct {
		wire uint32
		mode fs.FileMode
	}{
		{modeDir, fs.ModeDir},
		{modeAppend, fs.ModeAppend},
		{modeExcl, fs.ModeExclusive},
		{modeTmp, fs.ModeTemporary},
		{modeSymlink, fs.ModeSymlink},
		{modeDevice, fs.ModeDevice},
		{modePipe, fs.ModeNamedPipe},
		{modeSocket, fs.ModeSocket},
	} {
		if mode&bit.wire != 0 {
			m |= bit.mode
		}
	}
	return m
}

// decodeAttr decodes an Rgetattr.
func decodeAttr(d *decoder, name string) *Stat {
	d.u64() // valid
	s := &Stat{name: name, Qid: d.qid()}
	s.mode = linuxMode(d.u32())
	d.take(4 + 4 + 8 + 8) // uid, gid, nlink, rdev
	s.size = d.u64()
	d.take(8 + 8 + 16) // blksize, blocks, atime
	sec, nsec := d.u64(), d.u64()
	s.mtime = time.Unix(int64(sec), int64(nsec))
	d.take(16 + 16 + 8 + 8) // ctime, btime, gen, data_version
	return s
}

// linuxMode converts a Linux mode (st_mode).
func linuxMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	switch mode & 0o170000 {
	case 0o040000:
		m |= fs.ModeDir
	case 0o120000:
		m |= fs.ModeSymlink
	case 0o010000:
		m |= fs.ModeNamedPipe
	case 0o140000:
		m |= fs.ModeSocket
	case 0o060000:
		m |= fs.ModeDevice
	case 0o020000:
		m |= fs.ModeDevice | fs.ModeCharDevice
	}
	return m
}

// direntMode converts the type byte of an Rreaddir entry.
func direntMode(kind byte) fs.FileMode {
	return linuxMode(uint32(kind) << 12)
}
