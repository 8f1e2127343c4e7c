package p9

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Message types. The type of a reply is the type of the request plus one.
const (
	msgRlerror  = 7
	msgTlopen   = 12
	msgTlcreate = 14
	msgTsymlink = 16
	msgTreadlnk = 22
	msgTgetattr = 24
	msgTsetattr = 26
	msgTreaddir = 40
	msgTmkdir   = 72
	msgTrenmat  = 74
	msgTversion = 100
	msgTattach  = 104
	msgRerror   = 107
	msgTflush   = 108
	msgTwalk    = 110
	msgTopen    = 112
	msgTcreate  = 114
	msgTread    = 116
	msgTwrite   = 118
	msgTclunk   = 120
	msgTremove  = 122
	msgTstat    = 124
	msgTwstat   = 126
)

const (
	noTag = 0xFFFF
	noFid = 0xFFFF_FFFF
	// headerSize is the length in bytes of the size, type and tag fields.
	headerSize = 7
	// ioHeader is the maximum length in bytes of a read or write message without its data.
	ioHeader = 24
	// maxWalk is the maximum number of names in one Twalk.
	maxWalk = 16
	// leaveAlone is the value of a numeric field that Twstat must not change.
	leaveAlone = math.MaxUint32
)

// A request builds a T-message. The tag is added when the message is sent.
type request struct {
	frame []byte
	// err is the error for the first field that could not be encoded.
	err error
}

func newRequest(kind byte) *request {
	frame := make([]byte, headerSize, 64)
	frame[4] = kind
	return &request{frame: frame}
}

func (r *request) kind() byte { return r.frame[4] }

func (r *request) u8(v byte) *request {
	r.frame = append(r.frame, v)
	return r
}

func (r *request) u16(v uint16) *request {
	r.frame = binary.LittleEndian.AppendUint16(r.frame, v)
	return r
}

func (r *request) u32(v uint32) *request {
	r.frame = binary.LittleEndian.AppendUint32(r.frame, v)
	return r
}

func (r *request) u64(v uint64) *request {
	r.frame = binary.LittleEndian.AppendUint64(r.frame, v)
	return r
}

func (r *request) str(s string) *request {
	if len(s) > math.MaxUint16 {
		if r.err == nil {
			r.err = fmt.Errorf("9p: a string has %d bytes, and the limit is %d", len(s), math.MaxUint16)
		}
		return r
	}
	r.u16(uint16(len(s)))
	r.frame = append(r.frame, s...)
	return r
}

func (r *request) data(p []byte) *request {
	r.u32(uint32(len(p)))
	r.frame = append(r.frame, p...)
	return r
}

// finish adds the tag and the size.
func (r *request) finish(tag uint16) []byte {
	binary.LittleEndian.PutUint32(r.frame, uint32(len(r.frame)))
	binary.LittleEndian.PutUint16(r.frame[5:], tag)
	return r.frame
}

// A decoder reads the fields of a message. If a field is missing, bad is set, and this field and
// all subsequent fields are zero.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n > len(d.rest) {
		d.bad = true
		return nil
	}
	p := d.rest[:n:n]
	d.rest = d.rest[n:]
	return p
}

func (d *decoder) u8() byte {
	if p := d.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (d *decoder) u16() uint16 {
	if p := d.take(2); p != nil {
		return binary.LittleEndian.Uint16(p)
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if p := d.take(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if p := d.take(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

func (d *decoder) str() string {
	return string(d.take(int(d.u16())))
}

// data decodes a byte string with a 32-bit length. The result shares memory with the message.
func (d *decoder) data() []byte {
	n := d.u32()
	if uint64(n) > uint64(len(d.rest)) {
		d.bad = true
		return nil
	}
	return d.take(int(n))
}

func (d *decoder) qid() Qid {
	return Qid{Type: d.u8(), Version: d.u32(), Path: d.u64()}
}

// complete reports whether no field was missing and no bytes are left.
func (d *decoder) complete() bool {
	return !d.bad && len(d.rest) == 0
}
