package p9

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"math/rand"
	"net"
	"testing"
	"time"
)

// A fakeServer is the server side of a client's connection. The test decides how the server
// replies.
type fakeServer struct {
	t      *testing.T
	stream net.Conn
	reader *bufio.Reader
}

// A message is a request that the server has received.
type message struct {
	kind byte
	tag  uint16
	body []byte
}

// fake returns a client and its server. The handshake (Tversion and Tattach) has already completed.
func fake(t *testing.T, options Options) (*Client, *fakeServer) {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { far.Close() })
	server := &fakeServer{t: t, stream: far, reader: bufio.NewReader(far)}
	go func() {
		version := server.next()
		server.send(msgTversion+1, version.tag, version.body)
		attach := server.next()
		server.send(msgTattach+1, attach.tag, qidBytes(qidDir))
	}()
	client, err := NewClient(context.Background(), near, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client, server
}

// next receives a request.
func (s *fakeServer) next() message {
	s.stream.SetReadDeadline(time.Now().Add(10 * time.Second))
	frame, err := readFrame(s.reader, 1<<20)
	if err != nil {
		s.t.Errorf("no request: %v", err)
		return message{}
	}
	return message{kind: frame[4], tag: binary.LittleEndian.Uint16(frame[5:]), body: frame[headerSize:]}
}

// expect receives a request and checks that it has the expected type.
func (s *fakeServer) expect(kind byte) message {
	s.t.Helper()
	m := s.next()
	if m.kind != kind {
		s.t.Fatalf("the client sent a request of type %d, not %d", m.kind, kind)
	}
	return m
}

func (s *fakeServer) send(kind byte, tag uint16, body []byte) {
	r := newRequest(kind)
	r.frame = append(r.frame, body...)
	if _, err := s.stream.Write(r.finish(tag)); err != nil {
		s.t.Errorf("no reply: %v", err)
	}
}

func qidBytes(kind byte) []byte {
	return []byte{kind, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0}
}

// walked is the body of an Rwalk with one qid.
func walked(kind byte) []byte {
	return append([]byte{1, 0}, qidBytes(kind)...)
}

// stat calls Stat in a goroutine.
func stat(ctx context.Context, client *Client) <-chan error {
	errs := make(chan error, 1)
	go func() {
		_, err := client.Stat(ctx, "x")
		errs <- err
	}()
	return errs
}

func TestRequestsDoNotWaitForEachOther(t *testing.T) {
	client, server := fake(t, Options{})
	const callers = 100
	var all []<-chan error
	for i := 0; i < callers; i++ {
		all = append(all, stat(context.Background(), client))
	}
	var walks []message
	for i := 0; i < callers; i++ {
		walks = append(walks, server.expect(msgTwalk))
	}
	// The server replies in reverse order.
	for i := callers - 1; i >= 0; i-- {
		server.send(msgRerror, walks[i].tag, append(newRequest(0).str("gone").frame[headerSize:], 2, 0, 0, 0))
	}
	for _, errs := range all {
		if err := <-errs; !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

func TestTagIsNotUsedBeforeRflush(t *testing.T) {
	client, server := fake(t, Options{MaxRequests: 1})
	ctx, cancel := context.WithCancel(context.Background())
	errs := stat(ctx, client)
	walk := server.expect(msgTwalk)
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	flush := server.expect(msgTflush)
	if binary.LittleEndian.Uint16(flush.body) != walk.tag {
		t.Fatalf("the client flushes the tag %v, not %d", flush.body, walk.tag)
	}
	// The only tag is in use, so this call has to wait.
	waiting, stop := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer stop()
	if err := <-stat(waiting, client); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a request was sent before Rflush: %v", err)
	}
	server.send(msgTflush+1, flush.tag, nil)
	next := stat(context.Background(), client)
	again := server.expect(msgTwalk)
	if again.tag != walk.tag {
		t.Fatalf("the tag is %d, not %d", again.tag, walk.tag)
	}
	server.send(msgRerror, again.tag, append(newRequest(0).str("gone").frame[headerSize:], 2, 0, 0, 0))
	if err := <-next; !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if client.FidsInUse() != 0 {
		t.Fatalf("%d fids are in use", client.FidsInUse())
	}
}

func TestWalkThatSucceedsAfterItsFlushIsClunked(t *testing.T) {
	client, server := fake(t, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	errs := stat(ctx, client)
	walk := server.expect(msgTwalk)
	cancel()
	<-errs
	flush := server.expect(msgTflush)
	server.send(msgTwalk+1, walk.tag, walked(0))
	server.send(msgTflush+1, flush.tag, nil)
	clunk := server.expect(msgTclunk)
	if string(clunk.body) != string(walk.body[4:8]) {
		t.Fatalf("the client clunks the fid %v, not %v", clunk.body, walk.body[4:8])
	}
	if client.FidsInUse() != 1 {
		t.Fatal("the fid is free before Rclunk")
	}
	server.send(msgTclunk+1, clunk.tag, nil)
	for client.FidsInUse() != 0 {
		time.Sleep(time.Millisecond)
	}
}

func TestCancelledCallReturnsIfTheServerDoesNotReply(t *testing.T) {
	client, server := fake(t, Options{})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	errs := stat(ctx, client)
	server.expect(msgTwalk)
	// The server does not read the Tflush.
	select {
	case err := <-errs:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the call did not return")
	}
}

func TestRepliesThatViolateTheProtocolEndTheConnection(t *testing.T) {
	for name, answer := range map[string]func(s *fakeServer, walk message){
		"unknown tag":        func(s *fakeServer, walk message) { s.send(msgTwalk+1, walk.tag+1, walked(0)) },
		"wrong type":         func(s *fakeServer, walk message) { s.send(msgTstat+1, walk.tag, nil) },
		"too many qids":      func(s *fakeServer, walk message) { s.send(msgTwalk+1, walk.tag, []byte{2, 0}) },
		"too short":          func(s *fakeServer, walk message) { s.send(msgTwalk+1, walk.tag, []byte{1, 0, 0}) },
		"bytes left over":    func(s *fakeServer, walk message) { s.send(msgTwalk+1, walk.tag, append(walked(0), 0)) },
		"error without text": func(s *fakeServer, walk message) { s.send(msgRerror, walk.tag, []byte{9, 0}) },
		"frame of 4 GiB":     func(s *fakeServer, walk message) { s.stream.Write([]byte{255, 255, 255, 255}) },
		"frame of 6 bytes":   func(s *fakeServer, walk message) { s.stream.Write([]byte{6, 0, 0, 0, 0, 0}) },
	} {
		answer := answer
		t.Run(name, func(t *testing.T) {
			client, server := fake(t, Options{})
			errs := stat(context.Background(), client)
			// The client may close the connection in the middle of a frame.
			walk := server.expect(msgTwalk)
			answer(server, walk)
			if err := <-errs; !errors.Is(err, ErrLost) || !errors.Is(err, ErrProtocol) {
				t.Fatal(err)
			}
			<-client.Done()
		})
	}
}

func TestShortWalkIsAnError(t *testing.T) {
	for _, c := range []struct {
		kind byte
		want error
	}{{qidDir, fs.ErrNotExist}, {0, ErrNotDir}} {
		client, server := fake(t, Options{})
		errs := make(chan error, 1)
		go func() {
			_, err := client.Stat(context.Background(), "a/b")
			errs <- err
		}()
		walk := server.expect(msgTwalk)
		server.send(msgTwalk+1, walk.tag, walked(c.kind))
		if err := <-errs; !errors.Is(err, c.want) {
			t.Fatal(err)
		}
		if client.FidsInUse() != 0 {
			t.Fatal("a walk that failed left a fid")
		}
	}
}

func TestVersionThatTheClientDoesNotSupportIsRefused(t *testing.T) {
	for _, answer := range []string{"unknown", "9P2000.L", "9P1999"} {
		near, far := net.Pipe()
		server := &fakeServer{t: t, stream: far, reader: bufio.NewReader(far)}
		go func() {
			offer := server.next()
			server.send(msgTversion+1, offer.tag, append(offer.body[:4:4], newRequest(0).str(answer).frame[headerSize:]...))
		}()
		_, err := NewClient(context.Background(), near, Options{Dialects: []Dialect{DialectU}})
		if !errors.Is(err, ErrUnsupported) {
			t.Fatalf("%s: %v", answer, err)
		}
		far.Close()
	}
}

func TestConnectingEndsWithTheContext(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := NewClient(ctx, near, Options{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

func TestDecoderSurvivesRandomBytes(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	file := &fid{conn: &conn{net: nopConn{}, dialect: DialectU, end: func() {}}, qid: Qid{Type: qidDir}}
	for i := 0; i < 20000; i++ {
		data := make([]byte, random.Intn(120))
		random.Read(data)
		for _, file.conn.dialect = range []Dialect{DialectU, DialectL, Dialect0} {
			file.decodePage(data, 0)
			decodeAttr(&decoder{rest: data}, "x")
		}
	}
}

// nopConn is a connection that can only be closed.
type nopConn struct{ net.Conn }

func (nopConn) Close() error { return nil }
