package p9

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"time"
)

// Dial connects to a server. For example, the network can be "tcp" and the address
// "localhost:5640". The context applies only to connecting: once connected, the connection stays
// open even if the context expires.
func Dial(ctx context.Context, network, address string, options Options) (*Client, error) {
	var dialer net.Dialer
	stream, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("9p: %w", err)
	}
	return NewClient(ctx, stream, options)
}

// NewClient starts a 9P session on a connection. The client takes ownership of the connection. If
// NewClient fails, it closes the connection. The context applies only until NewClient returns.
func NewClient(ctx context.Context, stream net.Conn, options Options) (*Client, error) {
	options, err := options.withDefaults()
	if err != nil {
		stream.Close()
		return nil, err
	}
	c := &conn{
		net:     stream,
		peer:    stream.RemoteAddr().String(),
		options: options,
		msize:   options.MessageSize,
		tags:    newPool(0, options.MaxRequests),
		// Fid 0 is the root.
		fids:  newPool(1, options.MaxFids),
		calls: make(map[uint16]*call),
		wake:  make(chan struct{}, 1),
	}
	c.ctx, c.end = context.WithCancel(context.Background())
	reader := bufio.NewReaderSize(stream, 64<<10)
	if err := c.handshake(ctx, reader); err != nil {
		c.end()
		stream.Close()
		return nil, fmt.Errorf("9p: %s: %w", c.peer, err)
	}
	c.start(reader)
	root, err := c.attach(ctx)
	if err != nil {
		c.fail(err)
		return nil, fmt.Errorf("9p: attach to %s: %w", c.peer, err)
	}
	return &Client{conn: c, root: root}, nil
}

// handshake negotiates the dialect and the message size. No other request may be in flight at the
// same time.
func (c *conn) handshake(ctx context.Context, reader *bufio.Reader) error {
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-ctx.Done():
			// A deadline in the past ends the pending read or write.
			c.net.SetDeadline(time.Unix(1, 0))
		case <-stop:
		}
	}()
	err := c.negotiate(reader)
	close(stop)
	<-stopped
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (c *conn) negotiate(reader *bufio.Reader) error {
	var answer string
	for _, dialect := range c.options.Dialects {
		offer := newRequest(msgTversion).u32(c.options.MessageSize).str(string(dialect)).finish(noTag)
		if _, err := c.net.Write(offer); err != nil {
			return err
		}
		frame, err := readFrame(reader, c.options.MessageSize)
		if err != nil {
			return fmt.Errorf("no reply to Tversion: %w", err)
		}
		d := &decoder{rest: frame[headerSize:]}
		msize := d.u32()
		answer = d.str()
		if frame[4] != msgTversion+1 || binary.LittleEndian.Uint16(frame[5:]) != noTag || !d.complete() {
			return protocolError("the reply to Tversion is not a valid Rversion")
		}
		if c.accepts(Dialect(answer), dialect) {
			if msize < 256 || msize > c.options.MessageSize {
				return protocolError("the server's message size is %d bytes, but must be 256 to %d", msize, c.options.MessageSize)
			}
			c.dialect, c.msize = Dialect(answer), msize
			return nil
		}
	}
	return fmt.Errorf("%w: the server replied %q to Tversion, not one of %v", ErrUnsupported, answer, c.options.Dialects)
}

// accepts reports whether the client supports the dialect answer and 9P allows the server to choose
// it in reply to this offer.
func (c *conn) accepts(answer, offer Dialect) bool {
	if answer != offer && answer != Dialect0 {
		return false
	}
	for _, dialect := range c.options.Dialects {
		if dialect == answer {
			return true
		}
	}
	return false
}

// attach binds fid 0 to the root of the tree.
func (c *conn) attach(ctx context.Context) (*fid, error) {
	r := newRequest(msgTattach).u32(0).u32(noFid).str(c.options.User).str(c.options.Tree)
	if c.dialect != Dialect0 {
		r.u32(leaveAlone)
	}
	d, err := c.roundTrip(ctx, r, nil)
	if err != nil {
		return nil, err
	}
	root := &fid{conn: c, qid: d.qid()}
	return root, c.done(d, msgTattach)
}
