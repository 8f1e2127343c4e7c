package p9

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"testing"
)

// openModes watches a file on a server that refuses the first requests to open it. openModes
// returns the modes of all requests to open the file, and the error of the watch.
func openModes(t *testing.T, dialect Dialect, refused int) ([]uint32, error) {
	client, server := fake(t, Options{Dialects: []Dialect{dialect}})
	type result struct {
		stream *Deliveries
		err    error
	}
	results := make(chan result, 1)
	go func() {
		stream, err := client.Watch(context.Background(), "f")
		results <- result{stream, err}
	}()
	walk := server.expect(msgTwalk)
	server.send(msgTwalk+1, walk.tag, walked(0))
	var modes []uint32
	for {
		request := server.next()
		switch request.kind {
		case msgTopen:
			modes = append(modes, uint32(request.body[4]))
		case msgTlopen:
			modes = append(modes, binary.LittleEndian.Uint32(request.body[4:]))
		case msgTclunk:
			server.send(msgTclunk+1, request.tag, nil)
			return modes, (<-results).err
		default:
			t.Fatalf("the client sent a request of type %d", request.kind)
		}
		if len(modes) <= refused {
			server.refuse(dialect, request.tag)
			continue
		}
		server.send(request.kind+1, request.tag, append(qidBytes(0), 0, 0, 0, 0))
		opened := <-results
		if opened.err != nil {
			return modes, opened.err
		}
		go func() {
			for _, text := range []string{"one", "", ""} {
				read := server.expect(msgTread)
				server.send(msgTread+1, read.tag, newRequest(0).data([]byte(text)).frame[headerSize:])
			}
		}()
		if text, err := opened.stream.Next(context.Background()); string(text) != "one" || err != nil {
			t.Fatalf("the delivery is %q, %v", text, err)
		}
		_, err := opened.stream.Next(context.Background())
		if err != io.EOF {
			t.Fatal(err)
		}
		return modes, nil
	}
}

// refuse sends the error reply EPERM.
func (s *fakeServer) refuse(dialect Dialect, tag uint16) {
	number := []byte{1, 0, 0, 0}
	text := newRequest(0).str("Operation not permitted").frame[headerSize:]
	switch dialect {
	case DialectL:
		s.send(msgRlerror, tag, number)
	case DialectU:
		s.send(msgRerror, tag, append(text, number...))
	default:
		s.send(msgRerror, tag, text)
	}
}

func TestWatchSetsTheAppendFlagUnlessTheServerRefusesIt(t *testing.T) {
	for dialect, follow := range map[Dialect]uint32{Dialect0: 0x80, DialectU: 0x80, DialectL: 0o2000} {
		for refused, want := range [][]uint32{{follow}, {follow, 0}} {
			modes, err := openModes(t, dialect, refused)
			if err != nil || len(modes) != len(want) || modes[0] != want[0] || modes[len(modes)-1] != want[len(want)-1] {
				t.Errorf("%s: the modes are %o, not %o: %v", dialect, modes, want, err)
			}
		}
		if modes, err := openModes(t, dialect, 2); !errors.Is(err, fs.ErrPermission) || len(modes) != 2 {
			t.Errorf("%s: the modes are %o: %v", dialect, modes, err)
		}
	}
}
