package p9

import (
	"context"
	"io/fs"
	"sync/atomic"
)

// A fid refers to a file on the server. Its owner must close it or remove the file.
type fid struct {
	conn   *conn
	number uint32
	// qid identifies the file. The field is set by walk, open and create.
	qid Qid
	// iounit is the maximum number of bytes in one read or write. iounit is set when the fid is
	// opened.
	iounit uint32
	closed atomic.Bool
}

// walk follows the names and returns a new fid for the file. Long paths need multiple requests. If
// the walk fails or ctx is done, the new fid is freed.
func (f *fid) walk(ctx context.Context, names ...string) (*fid, error) {
	c := f.conn
	number, err := c.acquire(ctx, c.fids)
	if err != nil {
		return nil, err
	}
	first, rest := c.split(names)
	settle := func(reply []byte) { c.settleWalk(number, len(first), reply) }
	qids, err := c.walkOnce(ctx, f.number, number, first, settle)
	if err == nil && len(qids) < len(first) {
		err = shortWalk(qids)
	}
	if _, refused := err.(*Error); refused {
		// The server created no fid.
		c.fids.release(number)
	}
	if err != nil {
		return nil, err
	}
	walked := &fid{conn: c, number: number, qid: f.qid}
	walked.moved(qids)
	for len(rest) > 0 {
		first, rest = c.split(rest)
		qids, err := c.walkOnce(ctx, number, number, first, nil)
		if err == nil && len(qids) < len(first) {
			err = shortWalk(qids)
		}
		if err != nil {
			walked.close()
			return nil, err
		}
		walked.moved(qids)
	}
	return walked, nil
}

// split divides the names into those that fit into one Twalk (at least one) and the rest.
func (c *conn) split(names []string) (first, rest []string) {
	// The request contains the header, two fids, the number of names, and the names.
	room := int(c.msize) - headerSize - 10
	for i, name := range names {
		room -= 2 + len(name)
		if i == maxWalk || (i > 0 && room < 0) {
			return names[:i], names[i:]
		}
	}
	return names, nil
}

func (f *fid) moved(qids []Qid) {
	if len(qids) > 0 {
		f.qid = qids[len(qids)-1]
	}
}

// shortWalk returns the error for a walk that the server ended early without an error reply.
func shortWalk(qids []Qid) error {
	if n := len(qids); n > 0 && !qids[n-1].IsDir() {
		return errorOf(20)
	}
	return errorOf(2)
}

// settleWalk releases the number of the new fid after a cancelled walk. If the server has created
// the fid, settleWalk clunks it.
func (c *conn) settleWalk(number uint32, names int, reply []byte) {
	if len(reply) >= headerSize+2 && reply[4] == msgTwalk+1 {
		if d := (&decoder{rest: reply[headerSize:]}); int(d.u16()) == names {
			c.drop(msgTclunk, number)
			return
		}
	}
	c.fids.release(number)
}

func (c *conn) walkOnce(ctx context.Context, from, to uint32, names []string, settle func([]byte)) ([]Qid, error) {
	r := newRequest(msgTwalk).u32(from).u32(to).u16(uint16(len(names)))
	for _, name := range names {
		r.str(name)
	}
	d, err := c.roundTrip(ctx, r, settle)
	if err != nil {
		return nil, err
	}
	qids := make([]Qid, 0, maxWalk)
	n := int(d.u16())
	if n > len(names) {
		return nil, c.malformed(msgTwalk)
	}
	for i := 0; i < n; i++ {
		qids = append(qids, d.qid())
	}
	return qids, c.done(d, msgTwalk)
}

// close frees the fid without waiting for the server. Calling close again has no effect.
func (f *fid) close() {
	if !f.closed.Swap(true) {
		f.conn.drop(msgTclunk, f.number)
	}
}

// closeAndWait frees the fid and returns the error from the server.
func (f *fid) closeAndWait(ctx context.Context) error {
	if f.closed.Swap(true) {
		return ErrClosed
	}
	return f.conn.dropAndWait(ctx, msgTclunk, f.number)
}

// remove removes the file. remove frees the fid even if the file cannot be removed.
func (f *fid) remove(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		f.close()
		return err
	}
	if f.closed.Swap(true) {
		return ErrClosed
	}
	return f.conn.dropAndWait(ctx, msgTremove, f.number)
}

// simple sends a request whose reply has no fields.
func (f *fid) simple(ctx context.Context, r *request) error {
	d, err := f.conn.roundTrip(ctx, r, nil)
	if err != nil {
		return err
	}
	return f.conn.done(d, r.kind())
}

// request returns a new request whose first field is the fid.
func (f *fid) request(kind byte) *request {
	return newRequest(kind).u32(f.number)
}

// open opens the file.
func (f *fid) open(ctx context.Context, mode Mode) error {
	r := f.request(msgTopen).u8(byte(mode))
	if f.conn.dialect == DialectL {
		r = f.request(msgTlopen).u32(mode.linux())
	}
	return f.opened(ctx, r)
}

func (f *fid) opened(ctx context.Context, r *request) error {
	d, err := f.conn.roundTrip(ctx, r, nil)
	if err != nil {
		return err
	}
	f.qid = d.qid()
	f.iounit = d.u32()
	if limit := f.conn.msize - ioHeader; f.iounit == 0 || f.iounit > limit {
		f.iounit = limit
	}
	return f.conn.done(d, r.kind())
}

// create creates a file in this directory and opens it. Afterwards, the fid refers to the new file.
func (f *fid) create(ctx context.Context, name string, perm fs.FileMode, mode Mode) error {
	if f.conn.dialect == DialectL {
		const flags = 0o100 | 0o200 // O_CREAT and O_EXCL
		return f.opened(ctx, f.request(msgTlcreate).str(name).u32(flags|mode.linux()).u32(uint32(perm.Perm())).u32(0))
	}
	return f.opened(ctx, f.createRequest(name, uint32(perm.Perm()), mode, ""))
}

func (f *fid) createRequest(name string, perm uint32, mode Mode, extension string) *request {
	r := f.request(msgTcreate).str(name).u32(perm).u8(byte(mode))
	if f.conn.dialect == DialectU {
		r.str(extension)
	}
	return r
}

// mkdir creates a directory in this directory. In 9P2000 and 9P2000.u, the fid refers to the new
// directory afterwards.
func (f *fid) mkdir(ctx context.Context, name string, perm fs.FileMode) error {
	if f.conn.dialect == DialectL {
		d, err := f.conn.roundTrip(ctx, f.request(msgTmkdir).str(name).u32(uint32(perm.Perm())).u32(0), nil)
		if err != nil {
			return err
		}
		d.qid()
		return f.conn.done(d, msgTmkdir)
	}
	return f.opened(ctx, f.createRequest(name, modeDir|uint32(perm.Perm()), ReadOnly, ""))
}

// symlink creates a symbolic link in this directory. In 9P2000.u, the fid refers to the new link
// afterwards.
func (f *fid) symlink(ctx context.Context, name, target string) error {
	switch f.conn.dialect {
	case DialectL:
		d, err := f.conn.roundTrip(ctx, f.request(msgTsymlink).str(name).str(target).u32(0), nil)
		if err != nil {
			return err
		}
		d.qid()
		return f.conn.done(d, msgTsymlink)
	case DialectU:
		return f.opened(ctx, f.createRequest(name, modeSymlink|0o777, ReadOnly, target))
	}
	return &Error{Errno: 95, Text: "9P2000 has no symbolic links"}
}

// read sends one Tread. read returns at most len(p) bytes, and no more than fits into one message.
func (f *fid) read(ctx context.Context, p []byte, offset int64) (int, error) {
	data, err := f.readData(ctx, msgTread, len(p), offset)
	return copy(p, data), err
}

// readData sends a Tread or a Treaddir. The result shares memory with the reply.
func (f *fid) readData(ctx context.Context, kind byte, count int, offset int64) ([]byte, error) {
	if int64(count) > int64(f.iounit) {
		count = int(f.iounit)
	}
	d, err := f.conn.roundTrip(ctx, f.request(kind).u64(uint64(offset)).u32(uint32(count)), nil)
	if err != nil {
		return nil, err
	}
	data := d.data()
	if len(data) > count {
		return nil, f.conn.malformed(kind)
	}
	return data, f.conn.done(d, kind)
}

// write sends one Twrite. write returns the number of bytes that the server has written.
func (f *fid) write(ctx context.Context, p []byte, offset int64) (int, error) {
	if int64(len(p)) > int64(f.iounit) {
		p = p[:f.iounit]
	}
	d, err := f.conn.roundTrip(ctx, f.request(msgTwrite).u64(uint64(offset)).data(p), nil)
	if err != nil {
		return 0, err
	}
	n := d.u32()
	if int64(n) > int64(len(p)) {
		return 0, f.conn.malformed(msgTwrite)
	}
	return int(n), f.conn.done(d, msgTwrite)
}
