package p9

import "context"

// roundTrip sends a request and waits for its reply. It returns a decoder for the fields of the
// reply.
//
// If ctx is done first, roundTrip sends Tflush and returns ctx.Err() without waiting for Rflush.
// The tag is not reused until Rflush arrives. If the request is cancelled or cannot be sent, settle
// is called once, when it is known whether the request had an effect. settle may be nil. If the
// connection is lost, settle might not be called.
func (c *conn) roundTrip(ctx context.Context, r *request, settle func(reply []byte)) (*decoder, error) {
	err := r.err
	if err == nil && uint64(len(r.frame)) > uint64(c.msize) {
		err = tooLong("a request", int(c.msize), "bytes")
	}
	var number uint32
	if err == nil {
		number, err = c.acquire(ctx, c.tags)
	}
	if err != nil {
		if settle != nil {
			settle(nil)
		}
		return nil, err
	}
	tag := uint16(number)
	call := &call{kind: r.kind(), reply: make(chan []byte, 1), settle: settle}
	if err := c.enqueue(tag, call, r.finish(tag)); err != nil {
		return nil, err
	}
	select {
	case frame := <-call.reply:
		return c.fields(call, frame)
	case <-ctx.Done():
		if c.flush(tag, call) {
			return nil, ctx.Err()
		}
	case <-c.ctx.Done():
	}
	// The reply may have arrived in the meantime.
	select {
	case frame := <-call.reply:
		return c.fields(call, frame)
	case <-c.ctx.Done():
		return nil, c.lost()
	}
}

// flush sends a Tflush for a call. flush returns false if the reply has already arrived or if the
// connection has ended.
func (c *conn) flush(tag uint16, call *call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls[tag] != call {
		return false
	}
	call.flushing = true
	flushTag := tag + uint16(c.options.MaxRequests)
	c.calls[flushTag] = newFlush
	c.push(newRequest(msgTflush).u16(tag).finish(flushTag))
	return true
}

// newFlush creates the call for a Tflush. No goroutine waits for an Rflush.
var newFlush = &call{kind: msgTflush}

// fields checks the type of a reply and returns a decoder for its fields. For an error reply, it
// returns an *Error.
func (c *conn) fields(call *call, frame []byte) (*decoder, error) {
	d := &decoder{rest: frame[headerSize:]}
	switch kind := frame[4]; {
	case kind == call.kind+1:
		return d, nil
	case kind == msgRerror && c.dialect != DialectL:
		text := d.str()
		errno := uint32(0)
		if c.dialect == DialectU {
			errno = d.u32()
		}
		if d.complete() {
			return nil, newError(errno, text)
		}
	case kind == msgRlerror && c.dialect == DialectL:
		errno := d.u32()
		if d.complete() {
			return nil, errorOf(errno)
		}
	}
	err := protocolError("the reply to a request of type %d has the wrong type %d or cannot be decoded", call.kind, frame[4])
	c.fail(err)
	return nil, c.lost()
}

// malformed ends the connection because the fields of a reply cannot be decoded.
func (c *conn) malformed(request byte) error {
	c.fail(protocolError("the reply to a request of type %d cannot be decoded", request))
	return c.lost()
}

// done ends the connection if a reply has missing or extra bytes.
func (c *conn) done(d *decoder, request byte) error {
	if d.complete() {
		return nil
	}
	return c.malformed(request)
}

// drop sends a Tclunk or a Tremove. Tclunk and Tremove free the fid even if they fail, so they
// are not cancelled. The returned channel receives the reply.
func (c *conn) drop(kind byte, fid uint32) <-chan []byte {
	replies := make(chan []byte, 1)
	tag := uint16(2*c.options.MaxRequests) + uint16(fid)
	call := &call{kind: kind, settle: func(frame []byte) {
		c.fids.release(fid)
		replies <- frame
	}}
	// An error means that the connection has ended and that the fid no longer exists.
	_ = c.enqueue(tag, call, newRequest(kind).u32(fid).finish(tag))
	return replies
}

// dropAndWait is like drop, but also waits for the reply and returns the server's error.
func (c *conn) dropAndWait(ctx context.Context, kind byte, fid uint32) error {
	replies := c.drop(kind, fid)
	select {
	case frame := <-replies:
		d, err := c.fields(&call{kind: kind}, frame)
		if err != nil {
			return err
		}
		return c.done(d, kind)
	case <-ctx.Done():
		return ctx.Err()
	case <-c.ctx.Done():
		return c.lost()
	}
}
