package p9

import (
	"context"
	"io"
)

// window is how many requests of one transfer are in flight.
const window = 8

// readAll reads an open file from its start until an empty read. A file that has more than limit
// bytes is an error.
//
// A file with a version has ordinary content, so several reads can be in flight, and the length in
// s, which may be nil, can be relied on. The others may be streams or commands, of which each read
// depends on the one before.
func (f *fid) readAll(ctx context.Context, limit int, s *Stat) ([]byte, error) {
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
		if f.qid.Version == 0 {
			continue
		}
		if s != nil && s.Qid == f.qid && s.size == uint64(len(all)) {
			return all, nil
		}
		if len(data) == int(f.iounit) {
			rest, err := f.readAhead(ctx, limit-len(all), int64(len(all)))
			if err != nil {
				return nil, err
			}
			all = append(all, rest...)
		}
	}
}

// readAhead reads with several reads in flight. It stops at the first read that is not full.
func (f *fid) readAhead(ctx context.Context, limit int, offset int64) ([]byte, error) {
	// Reads that are not needed anymore are flushed.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type piece struct {
		data []byte
		err  error
	}
	var all []byte
	pieces := make(chan chan piece, window)
	submit := func() {
		done := make(chan piece, 1)
		pieces <- done
		at := offset
		offset += int64(f.iounit)
		go func() {
			data, err := f.readData(ctx, msgTread, int(f.iounit), at)
			done <- piece{data, err}
		}()
	}
	for i := 0; i < window; i++ {
		submit()
	}
	for {
		p := <-<-pieces
		if p.err != nil {
			return nil, p.err
		}
		if all = append(all, p.data...); len(all) > limit {
			return nil, tooLong("a file", limit, "bytes")
		}
		if len(p.data) < int(f.iounit) {
			return all, nil
		}
		submit()
	}
}

// writeAll writes all of p. Several writes to ordinary files are in flight, so after an error any
// part of p may have been written.
func (f *fid) writeAll(ctx context.Context, p []byte, offset int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	limit := window
	if f.qid.Version == 0 {
		limit = 1
	}
	errs := make(chan error, limit)
	flying := 0
	var first error
	for (len(p) > 0 && first == nil) || flying > 0 {
		if len(p) > 0 && first == nil && flying < limit {
			n := len(p)
			if n > int(f.iounit) {
				n = int(f.iounit)
			}
			piece, at := p[:n], offset
			p, offset = p[n:], offset+int64(n)
			if flying == 0 && len(p) == 0 {
				return f.writePiece(ctx, piece, at)
			}
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
