package p9

import (
	"context"
	"io"
)

// window is the maximum number of requests that a single transfer has in flight.
const window = 8

// readAll reads an open file from its beginning until a read returns no data. readAll fails if the
// file has more than limit bytes. Only one read is in flight, because each read of a stream or of a
// command reply depends on the previous one.
func (f *fid) readAll(ctx context.Context, limit int) ([]byte, error) {
	var all []byte
	for {
		data, err := f.readData(ctx, msgTread, int(f.iounit), int64(len(all)))
		if err != nil {
			return nil, err
		}
		if len(data) == 0 {
			return all, nil
		}
		if all = append(all, data...); len(all) > limit {
			return nil, tooLong("a file", limit, "bytes")
		}
	}
}

// readKnown reads an open file whose content does not change and whose size is known, with several
// reads in flight.
func (f *fid) readKnown(ctx context.Context, limit int, size uint64) ([]byte, error) {
	if size > uint64(limit) {
		return nil, tooLong("a file", limit, "bytes")
	}
	unit, end := int64(f.iounit), int64(size)
	if end <= unit {
		return f.readPiece(ctx, 0, end)
	}
	// After an error, flush the reads that are still in flight.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type piece struct {
		data []byte
		err  error
	}
	pieces := make(chan chan piece, window)
	next := int64(0)
	submit := func() {
		done := make(chan piece, 1)
		pieces <- done
		start, stop := next, next+unit
		if stop > end {
			stop = end
		}
		next = stop
		go func() {
			data, err := f.readPiece(ctx, start, stop)
			done <- piece{data, err}
		}()
	}
	var all []byte
	for int64(len(all)) < end {
		for next < end && len(pieces) < window {
			submit()
		}
		p := <-<-pieces
		if p.err != nil {
			return nil, p.err
		}
		all = append(all, p.data...)
	}
	return all, nil
}

// readPiece reads the bytes from start up to, but not including, stop.
func (f *fid) readPiece(ctx context.Context, start, stop int64) ([]byte, error) {
	var all []byte
	for {
		at := start + int64(len(all))
		if at == stop {
			return all, nil
		}
		data, err := f.readData(ctx, msgTread, int(stop-at), at)
		if err != nil {
			return nil, err
		}
		if len(data) == 0 {
			return nil, io.ErrUnexpectedEOF
		}
		if all == nil {
			all = data
		} else {
			all = append(all, data...)
		}
	}
}

// writeAll writes all of p, with at most atOnce writes in flight. After an error, any part of p may
// have been written if atOnce is greater than 1.
func (f *fid) writeAll(ctx context.Context, p []byte, offset int64, atOnce int) error {
	if len(p) <= int(f.iounit) {
		return f.writePiece(ctx, p, offset)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, atOnce)
	flying := 0
	var first error
	for (len(p) > 0 && first == nil) || flying > 0 {
		if len(p) > 0 && first == nil && flying < atOnce {
			n := len(p)
			if n > int(f.iounit) {
				n = int(f.iounit)
			}
			piece, at := p[:n], offset
			p, offset = p[n:], offset+int64(n)
			flying++
			go func() { errs <- f.writePiece(ctx, piece, at) }()
			continue
		}
		err := <-errs
		flying--
		if err != nil && first == nil {
			first = err
			cancel()
		}
	}
	return first
}

// writePiece writes all of p, which fits into one message.
func (f *fid) writePiece(ctx context.Context, p []byte, offset int64) error {
	for {
		n, err := f.write(ctx, p, offset)
		if err != nil {
			return err
		}
		if n == 0 && len(p) > 0 {
			return io.ErrShortWrite
		}
		if p = p[n:]; len(p) == 0 {
			return nil
		}
		offset += int64(n)
	}
}
