package p9

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
)

// A conn sends requests and matches each reply to its request. Any number of goroutines may use it
// at the same time. A goroutine does not hold a lock while it waits for a reply or for the network.
//
// The tags are divided into ranges, so a flush or clunk never waits for a free tag:
//
//	0 to M-1       requests
//	M to 2M-1      the Tflush of the request with the tag minus M
//	2M to 2M+F-1   the Tclunk or Tremove of the fid with the tag minus 2M
//
// M is Options.MaxRequests and F is Options.MaxFids.
type conn struct {
	net     net.Conn
	peer    string
	dialect Dialect
	msize   uint32
	options Options

	tags *pool
	fids *pool

	mu    sync.Mutex
	calls map[uint16]*call
	// queue contains the frames that the writer has not yet taken. queue contains at most one frame
	// for each tag in use.
	queue [][]byte
	// wake tells the writer that the queue is not empty.
	wake chan struct{}
	// err is set before ctx is done.
	err error

	// ctx is done when the connection ends.
	ctx context.Context
	end context.CancelFunc
	// running counts the reader and writer goroutines that have not ended.
	running sync.WaitGroup
}

// A call is a request that has no reply yet.
type call struct {
	kind byte
	// reply receives the reply. reply is nil if no goroutine waits for it.
	reply chan []byte
	// settle is called once if no goroutine receives the reply. The argument is the reply, or nil
	// if the request was flushed before it had an effect. The function must not block.
	settle func(reply []byte)
	// flushing is set when the caller has returned and a Tflush has been queued.
	flushing bool
	// late is the reply if it arrived between Tflush and Rflush.
	late []byte
}

// start starts the reader and writer goroutines.
func (c *conn) start(reader *bufio.Reader) {
	c.running.Add(2)
	go func() {
		defer c.running.Done()
		c.fail(c.read(reader))
	}()
	go func() {
		defer c.running.Done()
		if err := c.write(); err != nil {
			c.fail(err)
		}
	}()
}

// fail ends the connection. Only the first call has an effect.
func (c *conn) fail(cause error) {
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = &lostError{peer: c.peer, cause: cause}
		c.queue = nil
		c.calls = nil
	}
	c.mu.Unlock()
	if first {
		c.end()
		c.net.Close()
	}
}

// lost returns the reason why the connection ended.
func (c *conn) lost() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// acquire waits for a free number in a pool and takes it.
func (c *conn) acquire(ctx context.Context, p *pool) (uint32, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	number, err := p.acquire(ctx, c.ctx.Done())
	if err == errLost {
		err = c.lost()
	}
	return number, err
}

// enqueue registers a call and queues its frame for the writer. It does not block.
func (c *conn) enqueue(tag uint16, call *call, frame []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.calls[tag] = call
	c.push(frame)
	return nil
}

// push appends a frame to the queue. The caller must hold the lock.
func (c *conn) push(frame []byte) {
	c.queue = append(c.queue, frame)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// write sends the queued frames until the connection ends.
func (c *conn) write() error {
	for {
		select {
		case <-c.wake:
		case <-c.ctx.Done():
			return nil
		}
		c.mu.Lock()
		frames := net.Buffers(c.queue)
		c.queue = nil
		c.mu.Unlock()
		if _, err := frames.WriteTo(c.net); err != nil {
			return err
		}
	}
}

// read receives replies until the connection ends.
func (c *conn) read(reader *bufio.Reader) error {
	for {
		frame, err := readFrame(reader, c.msize)
		if err != nil {
			return err
		}
		if err := c.receive(binary.LittleEndian.Uint16(frame[5:]), frame); err != nil {
			return err
		}
	}
}

// readFrame reads a message. readFrame allocates no more than msize bytes.
func readFrame(reader *bufio.Reader, msize uint32) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(reader, size[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(size[:])
	if n < headerSize || n > msize {
		return nil, protocolError("a message has %d bytes, but must have %d to %d", n, headerSize, msize)
	}
	frame := make([]byte, n)
	copy(frame, size[:])
	if _, err := io.ReadFull(reader, frame[4:]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return frame, nil
}

// receive passes a reply to its call.
func (c *conn) receive(tag uint16, frame []byte) error {
	c.mu.Lock()
	call := c.calls[tag]
	if call == nil {
		c.mu.Unlock()
		return protocolError("a reply of type %d has the tag %d, which no request has", frame[4], tag)
	}
	if call.flushing {
		defer c.mu.Unlock()
		if call.late != nil {
			return protocolError("the request with the tag %d has two replies", tag)
		}
		call.late = frame
		return nil
	}
	delete(c.calls, tag)
	if call.kind == msgTflush {
		return c.flushed(tag, frame)
	}
	c.mu.Unlock()
	if call.settle != nil && call.reply == nil {
		call.settle(frame)
		return nil
	}
	c.releaseTag(tag)
	call.reply <- frame
	return nil
}

// flushed processes an Rflush. flushed frees the tag of the cancelled request. The caller must hold
// the lock, which flushed releases.
func (c *conn) flushed(tag uint16, frame []byte) error {
	old := tag - uint16(c.options.MaxRequests)
	call := c.calls[old]
	delete(c.calls, old)
	c.mu.Unlock()
	if frame[4] != msgTflush+1 {
		return protocolError("the reply to Tflush has the wrong type %d", frame[4])
	}
	c.releaseTag(old)
	if call.settle != nil {
		call.settle(call.late)
	}
	return nil
}

// releaseTag frees the tag of a request. releaseTag does nothing for the tags of Tclunk and
// Tremove, which do not belong to a pool.
func (c *conn) releaseTag(tag uint16) {
	if int(tag) < c.options.MaxRequests {
		c.tags.release(uint32(tag))
	}
}
