package p9

import (
	"context"
	"io"
)

// streamBuffer is the number of bytes requested by one read of a stream. Longer deliveries need
// multiple reads.
const streamBuffer = 8 << 10

// maxDelivery is the maximum size of a delivery in bytes.
const maxDelivery = 1 << 24

// Deliveries reads a stream file. A stream file sends text in pieces called deliveries. An empty
// read marks the end of a delivery, and two empty reads in a row mark the end of the stream. The
// deliveries of a parameter are its values.
type Deliveries struct {
	file   *File
	offset int64
	buffer []byte
	// text is the part of the next delivery that has been read so far.
	text []byte
	// marked is set if the last read was empty.
	marked bool
}

// Release closes the file without waiting for the server. Release does nothing if the file is
// already closed.
func (d *Deliveries) Release() { d.file.Release() }

// Next waits for the next delivery. At the end of the stream, it returns io.EOF. If ctx is done,
// Next fails but no delivery is lost, and a later call continues where this one stopped.
func (d *Deliveries) Next(ctx context.Context) ([]byte, error) {
	if d.buffer == nil {
		d.buffer = make([]byte, streamBuffer)
	}
	for {
		n, err := d.file.ReadContext(ctx, d.buffer, d.offset)
		if err != nil && err != io.EOF {
			return nil, err
		}
		if n > 0 {
			d.offset += int64(n)
			d.marked = false
			if d.text = append(d.text, d.buffer[:n]...); len(d.text) > maxDelivery {
				d.text = nil
				return nil, tooLong("a delivery of "+d.file.name, maxDelivery, "bytes")
			}
			continue
		}
		if d.marked {
			return nil, io.EOF
		}
		d.marked = true
		if text := d.text; len(text) > 0 {
			d.text = nil
			return text, nil
		}
	}
}
