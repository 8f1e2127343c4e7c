package p9

import (
	"context"
	"io/fs"
	"math"
)

// stat reads the attributes. 9P2000.L does not send the name, so the caller passes it in.
func (f *fid) stat(ctx context.Context, name string) (*Stat, error) {
	if f.conn.dialect == DialectL {
		const basic = 0x7FF
		d, err := f.conn.roundTrip(ctx, f.request(msgTgetattr).u64(basic), nil)
		if err != nil {
			return nil, err
		}
		s := decodeAttr(d, name)
		return s, f.conn.done(d, msgTgetattr)
	}
	d, err := f.conn.roundTrip(ctx, f.request(msgTstat), nil)
	if err != nil {
		return nil, err
	}
	d.u16() // the length of the stat with its own length field
	s := decodeStat(d, f.conn.dialect)
	s.name = name
	return s, f.conn.done(d, msgTstat)
}

// readLink reads the target of a symbolic link. In 9P2000, the target is read like a file's
// content.
func (f *fid) readLink(ctx context.Context, s *Stat) (string, error) {
	switch f.conn.dialect {
	case DialectU:
		return s.target, nil
	case DialectL:
		d, err := f.conn.roundTrip(ctx, f.request(msgTreadlnk), nil)
		if err != nil {
			return "", err
		}
		target := d.str()
		return target, f.conn.done(d, msgTreadlnk)
	}
	if err := f.open(ctx, ReadOnly); err != nil {
		return "", err
	}
	target, err := f.readAll(ctx, math.MaxUint16)
	return string(target), err
}

// Bits of the valid field in Tsetattr.
const (
	setMode = 0x1
	setSize = 0x8
)

// setSize truncates or extends the file.
func (f *fid) setSize(ctx context.Context, size uint64) error {
	if f.conn.dialect == DialectL {
		return f.simple(ctx, f.setattr(setSize, 0, size))
	}
	return f.simple(ctx, f.wstat(leaveAlone, size, ""))
}

// setMode sets the permissions.
func (f *fid) setMode(ctx context.Context, perm fs.FileMode) error {
	if f.conn.dialect == DialectL {
		return f.simple(ctx, f.setattr(setMode, uint32(perm.Perm()), 0))
	}
	mode := uint32(perm.Perm())
	if f.qid.IsDir() {
		mode |= modeDir
	}
	return f.simple(ctx, f.wstat(mode, math.MaxUint64, ""))
}

// rename renames the file within its directory.
func (f *fid) rename(ctx context.Context, name string) error {
	return f.simple(ctx, f.wstat(leaveAlone, math.MaxUint64, name))
}

func (f *fid) setattr(valid, mode uint32, size uint64) *request {
	r := f.request(msgTsetattr).u32(valid).u32(mode).u32(0).u32(0).u64(size)
	return r.u64(0).u64(0).u64(0).u64(0)
}

// wstat returns a Twstat. A field is left unchanged if all of its bits are set or it is an empty
// string.
func (f *fid) wstat(mode uint32, length uint64, name string) *request {
	stat := newRequest(0).u16(math.MaxUint16).u32(leaveAlone)
	stat.u8(math.MaxUint8).u32(leaveAlone).u64(math.MaxUint64) // qid
	stat.u32(mode).u32(leaveAlone).u32(leaveAlone).u64(length)
	stat.str(name).str("").str("").str("")
	if f.conn.dialect == DialectU {
		stat.str("").u32(leaveAlone).u32(leaveAlone).u32(leaveAlone)
	}
	body := stat.frame[headerSize:]
	r := f.request(msgTwstat).u16(uint16(len(body) + 2)).str(string(body))
	if stat.err != nil {
		r.err = stat.err
	}
	return r
}
