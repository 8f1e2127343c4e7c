package p9

import (
	"bufio"
	"net"
	"strings"
	"testing"

	"github.com/datakit-rs/datakit/std-adapter/bindings/go/internal/testserver"
)

// An originalClient sends the same requests as the original DataKit project's Go client. The client
// clones a fid and then sends a Twalk in which both fid and newfid are the clone. The client treats
// every Rwalk as success, opens all files for reading and writing, and compares error messages.
type originalClient struct {
	t      *testing.T
	stream *fakeServer
	tag    uint16
	fid    uint32
}

// call sends a request and returns the type and fields of the reply.
func (c *originalClient) call(r *request) (byte, *decoder) {
	c.t.Helper()
	c.tag++
	if _, err := c.stream.stream.Write(r.finish(c.tag)); err != nil {
		c.t.Fatal(err)
	}
	reply := c.stream.next()
	if reply.tag != c.tag {
		c.t.Fatalf("the tag is %d, not %d", reply.tag, c.tag)
	}
	return reply.kind, &decoder{rest: reply.body}
}

// must sends a request. The test fails if the server refuses the request.
func (c *originalClient) must(r *request) *decoder {
	c.t.Helper()
	request := r.kind()
	kind, d := c.call(r)
	if kind != request+1 {
		c.t.Fatalf("the reply to the request of type %d has the type %d: %q", request, kind, d.rest)
	}
	return d
}

const originalRoot = 1

// walk returns a fid or, if the walk fails, the error text.
func (c *originalClient) walk(path string) (fid uint32, text string) {
	c.t.Helper()
	c.fid++
	c.must(newRequest(msgTwalk).u32(originalRoot).u32(c.fid).u16(0))
	names := strings.Split(path, "/")
	r := newRequest(msgTwalk).u32(c.fid).u32(c.fid).u16(uint16(len(names)))
	for _, name := range names {
		r.str(name)
	}
	kind, d := c.call(r)
	if kind == msgRerror {
		return c.fid, d.str()
	}
	if n := d.u16(); int(n) != len(names) {
		c.t.Fatalf("an Rwalk has %d of %d qids, but the client treats it as success", n, len(names))
	}
	return c.fid, ""
}

// found returns the fid of an existing path.
func (c *originalClient) found(path string) uint32 {
	c.t.Helper()
	fid, text := c.walk(path)
	if text != "" {
		c.t.Fatalf("%s: %s", path, text)
	}
	return fid
}

func (c *originalClient) clunk(fid uint32) { c.must(newRequest(msgTclunk).u32(fid)) }

// mkdir ignores the error from Tcreate and then walks to the directory.
func (c *originalClient) mkdir(dir, name string) {
	c.t.Helper()
	fid := c.found(dir)
	c.call(newRequest(msgTcreate).u32(fid).str(name).u32(modeDir | 0o755).u8(0))
	c.clunk(fid)
	c.clunk(c.found(dir + "/" + name))
}

// write opens a file for reading and writing, and writes at offset 0.
func (c *originalClient) write(path, text string) {
	c.t.Helper()
	fid := c.found(path)
	c.must(newRequest(msgTopen).u32(fid).u8(byte(ReadWrite)))
	c.must(newRequest(msgTwrite).u32(fid).u64(0).data([]byte(text)))
	c.clunk(fid)
}

// read opens a file for reading and writing, and reads once.
func (c *originalClient) read(path string, count uint32) string {
	c.t.Helper()
	fid := c.found(path)
	c.must(newRequest(msgTopen).u32(fid).u8(byte(ReadWrite)))
	text := string(c.must(newRequest(msgTread).u32(fid).u64(0).u32(count)).data())
	c.clunk(fid)
	return text
}

func connectOriginal(t *testing.T) *originalClient {
	stream, err := net.Dial("tcp", testserver.Start(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stream.Close() })
	c := &originalClient{t: t, stream: &fakeServer{t: t, stream: stream, reader: bufio.NewReader(stream)}, fid: originalRoot}
	c.tag = noTag - 1
	d := c.must(newRequest(msgTversion).u32(65536).str("9P2000"))
	if msize, version := d.u32(), d.str(); msize != 65536 || version != "9P2000" {
		t.Fatalf("the server replied %d %q", msize, version)
	}
	c.must(newRequest(msgTattach).u32(originalRoot).u32(noFid).str("anyone").str("/"))
	return c
}

func TestRequestsOfTheOriginalGoClientAreServed(t *testing.T) {
	c := connectOriginal(t)
	c.mkdir("branch", "master")
	c.mkdir("branch", "master")
	c.mkdir("branch/master/transactions", "1")
	const transaction = "branch/master/transactions/1"
	c.mkdir(transaction+"/rw", "a")
	c.mkdir(transaction+"/rw/a", "b")

	// The original client uses a single fid to create, write and read a file. Creating the file again
	// truncates it.
	for _, text := range []string{"a longer text", "hello"} {
		fid := c.found(transaction + "/rw/a/b")
		c.must(newRequest(msgTcreate).u32(fid).str("c").u32(0o644).u8(byte(ReadWrite)))
		c.must(newRequest(msgTwrite).u32(fid).u64(0).data([]byte(text)))
		got := string(c.must(newRequest(msgTread).u32(fid).u64(0).u32(65536 - 11)).data())
		if got != text {
			t.Fatalf("the file contains %q", got)
		}
		c.clunk(fid)
	}
	live := c.found("branch/master/watch/a.node/tree.live")
	c.must(newRequest(msgTopen).u32(live).u8(byte(ReadWrite)))
	first := c.must(newRequest(msgTread).u32(live).u64(0).u32(512)).data()
	if string(first) != "\n" {
		t.Fatalf("the path exists before the commit: %q", first)
	}
	c.write(transaction+"/msg", "message")
	c.write(transaction+"/ctl", "commit")
	head := strings.TrimSpace(c.read("branch/master/head", 512))
	if got := c.read("snapshots/"+head+"/ro/a/b/c", 65536-11); got != "hello" {
		t.Fatalf("the snapshot contains %q", got)
	}

	// An empty read separates the deliveries.
	if mark := c.must(newRequest(msgTread).u32(live).u64(1).u32(512)).data(); len(mark) != 0 {
		t.Fatalf("the read after the first delivery returns %q", mark)
	}
	line := string(c.must(newRequest(msgTread).u32(live).u64(1).u32(512)).data())
	if !strings.HasPrefix(line, "D-") || !strings.HasSuffix(line, "\n") {
		t.Fatalf("the delivery is %q", line)
	}
	if got := c.read("trees/"+strings.TrimSpace(line)+"/b/c", 512); got != "hello" {
		t.Fatalf("the tree contains %q", got)
	}

	// When the original client removes a path, it interprets these two messages as meaning that the
	// path does not exist.
	for path, want := range map[string]string{
		"snapshots/" + head + "/ro/nope/x":  "No such file or directory",
		"snapshots/" + head + "/ro/a/b/c/d": "Can't walk from a file",
	} {
		fid, text := c.walk(path)
		if text != want {
			t.Fatalf("the error for %s is %q", path, text)
		}
		c.clunk(fid)
	}
}
