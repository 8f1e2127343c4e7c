package p9_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/datakit-rs/datakit/std-adapter/bindings/go/internal/testserver"
	"github.com/datakit-rs/datakit/std-adapter/bindings/go/p9"
)

var dialects = []p9.Dialect{p9.DialectU, p9.DialectL, p9.Dialect0}

// connect starts a server with a writable tree and connects to it.
func connect(t *testing.T, options p9.Options) *p9.Client {
	t.Helper()
	client, err := p9.Dial(context.Background(), "tcp", testserver.Start(t, "--scratch"), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// eventually waits until f returns true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("this did not happen within 10 s: " + what)
		}
	}
}

func noLeaks(t *testing.T, client *p9.Client) {
	t.Helper()
	eventually(t, "all fids and tags are free", func() bool {
		return client.FidsInUse() == 0 && client.RequestsInFlight() == 0
	})
}

func TestFilesAreCreatedReadChangedAndRemoved(t *testing.T) {
	for _, dialect := range dialects {
		dialect := dialect
		t.Run(string(dialect), func(t *testing.T) {
			ctx := context.Background()
			client := connect(t, p9.Options{Dialects: []p9.Dialect{dialect}, MessageSize: 8192})
			if client.Dialect() != dialect {
				t.Fatalf("the dialect is %s", client.Dialect())
			}
			deep := strings.Repeat("d/", 40) + "leaf"
			check(t, client.MkdirAll(ctx, deep, 0o755))
			check(t, client.MkdirAll(ctx, deep, 0o755))
			file, err := client.Create(ctx, deep+"/f", 0o644, p9.ReadWrite)
			check(t, err)
			content := strings.Repeat("0123456789abcdef", 10000)
			_, err = io.Copy(file.Writer(ctx, 0), strings.NewReader(content))
			check(t, err)
			check(t, file.Close())
			read, err := client.ReadFile(ctx, "/"+deep+"/f")
			check(t, err)
			if string(read) != content {
				t.Fatalf("the file contains %d bytes that differ", len(read))
			}
			check(t, client.Truncate(ctx, deep+"/f", 5))
			check(t, client.Chmod(ctx, deep+"/f", 0o700))
			check(t, client.Rename(ctx, deep+"/f", "g"))
			s, err := client.Stat(ctx, deep+"/g")
			check(t, err)
			if s.Name() != "g" || s.Size() != 5 || s.Mode() != 0o700 {
				t.Fatalf("the attributes are %v", s)
			}
			if dialect != p9.Dialect0 {
				check(t, client.Symlink(ctx, "g", deep+"/link"))
				if target, err := client.ReadLink(ctx, deep+"/link"); err != nil || target != "g" {
					t.Fatalf("the target is %q, %v", target, err)
				}
			}
			check(t, client.WriteFile(ctx, deep+"/g", []byte("short")))
			check(t, client.Remove(ctx, deep+"/g"))
			_, err = client.ReadFile(ctx, deep+"/g")
			expect(t, err, fs.ErrNotExist)
			_, err = client.ReadFile(ctx, deep)
			expect(t, err, p9.ErrIsDir)
			expect(t, client.Mkdir(ctx, "d", 0o755), fs.ErrExist)
			noLeaks(t, client)
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("the error is %v, not %v", err, want)
	}
}

func TestMkdirAllFailsAtAFile(t *testing.T) {
	ctx := context.Background()
	client := connect(t, p9.Options{})
	file, err := client.Create(ctx, "f", 0o644, p9.WriteOnly)
	check(t, err)
	check(t, file.Close())
	expect(t, client.MkdirAll(ctx, "f", 0o755), p9.ErrNotDir)
	expect(t, client.MkdirAll(ctx, "f/a/b", 0o755), p9.ErrNotDir)
	noLeaks(t, client)
}

func TestListingsAreComplete(t *testing.T) {
	for _, dialect := range dialects {
		ctx := context.Background()
		client := connect(t, p9.Options{Dialects: []p9.Dialect{dialect}, MessageSize: 4096})
		const count = 500
		for i := 0; i < count; i++ {
			check(t, client.Mkdir(ctx, fmt.Sprintf("directory number %03d", i), 0o755))
		}
		entries, err := client.ReadDir(ctx, "/")
		check(t, err)
		if len(entries) != count {
			t.Fatalf("%s: %d entries", dialect, len(entries))
		}
		for i, entry := range entries {
			info, err := entry.Info()
			if entry.Name() != fmt.Sprintf("directory number %03d", i) || !entry.IsDir() || err != nil || info.Name() != entry.Name() {
				t.Fatalf("%s: entry %d is %v, %v", dialect, i, entry, err)
			}
		}
		noLeaks(t, client)
	}
}

// There are only 8 fids and 8 tags, so a leak would make the test hang.
func TestFailuresLeakNoFids(t *testing.T) {
	ctx := context.Background()
	client := connect(t, p9.Options{MaxFids: 8, MaxRequests: 8})
	check(t, client.Mkdir(ctx, "d", 0o755))
	for i := 0; i < 2000; i++ {
		if _, err := client.Create(ctx, "nope/f", 0o644, p9.WriteOnly); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if _, err := client.Create(ctx, "d/bad\x00name", 0o644, p9.WriteOnly); err == nil {
			t.Fatal("a name with a NUL byte was accepted")
		}
		expect(t, client.Mkdir(ctx, "d", 0o755), fs.ErrExist)
		expect(t, client.Remove(ctx, "nope"), fs.ErrNotExist)
		file, err := client.Create(ctx, "d/f", 0o644, p9.WriteOnly)
		check(t, err)
		file.Release()
		check(t, client.Remove(ctx, "d/f"))
	}
	noLeaks(t, client)
}

func TestCancelledCallsLeakNoFids(t *testing.T) {
	client := connect(t, p9.Options{MaxFids: 64, MaxRequests: 64})
	check(t, client.MkdirAll(context.Background(), "a/b/c", 0o755))
	var callers sync.WaitGroup
	for i := 0; i < 32; i++ {
		i := i
		callers.Add(1)
		go func() {
			defer callers.Done()
			for j := 0; j < 100; j++ {
				// Some contexts are done before the call, some during the call and some after it.
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration((i*j)%40)*10*time.Microsecond)
				name := fmt.Sprintf("a/b/c/f%d", i)
				if file, err := client.Create(ctx, name, 0o644, p9.ReadWrite); err == nil {
					file.Release()
				}
				if file, err := client.Open(ctx, name, p9.ReadOnly); err == nil {
					file.Release()
				}
				client.ReadDir(ctx, "a/b/c")
				client.Remove(ctx, name)
				cancel()
			}
		}()
	}
	callers.Wait()
	noLeaks(t, client)
	_, err := client.ReadDir(context.Background(), "a/b/c")
	check(t, err)
}

func TestManyGoroutinesShareFewFidsAndTags(t *testing.T) {
	ctx := context.Background()
	client := connect(t, p9.Options{MaxFids: 2, MaxRequests: 3})
	var callers sync.WaitGroup
	for i := 0; i < 50; i++ {
		name := fmt.Sprint("dir", i)
		callers.Add(1)
		go func() {
			defer callers.Done()
			if err := client.MkdirAll(ctx, name+"/a/b", 0o755); err != nil {
				t.Error(err)
			}
			if _, err := client.ReadDir(ctx, name); err != nil {
				t.Error(err)
			}
		}()
	}
	callers.Wait()
	noLeaks(t, client)
}

func TestWaitingForAFidEndsWithTheContext(t *testing.T) {
	client := connect(t, p9.Options{MaxFids: 1})
	held, err := client.Open(context.Background(), "/", p9.ReadOnly)
	check(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err = client.Stat(ctx, "/")
	expect(t, err, context.DeadlineExceeded)
	check(t, held.Close())
	_, err = client.Stat(context.Background(), "/")
	check(t, err)
}

func TestClosedConnectionFailsAllCalls(t *testing.T) {
	client := connect(t, p9.Options{})
	file, err := client.Open(context.Background(), "/", p9.ReadOnly)
	check(t, err)
	check(t, client.Close())
	<-client.Done()
	expect(t, client.Err(), p9.ErrLost)
	_, err = client.Stat(context.Background(), "/")
	expect(t, err, p9.ErrLost)
	expect(t, file.Close(), p9.ErrLost)
	expect(t, file.Close(), fs.ErrClosed)
}

func TestClosedFileRefusesOperations(t *testing.T) {
	ctx := context.Background()
	client := connect(t, p9.Options{})
	file, err := client.Create(ctx, "f", 0o644, p9.ReadWrite)
	check(t, err)
	_, err = file.WriteContext(ctx, []byte("hello"), 0)
	check(t, err)
	_, err = file.ReadContext(ctx, make([]byte, 1), -1)
	if err == nil {
		t.Fatal("a negative offset was accepted")
	}
	check(t, file.Close())
	_, err = file.ReadContext(ctx, make([]byte, 1), 0)
	expect(t, err, fs.ErrClosed)
	_, err = file.WriteContext(ctx, []byte("x"), 0)
	expect(t, err, fs.ErrClosed)
	file.Release()
	noLeaks(t, client)
}

func TestInvalidOptionsAreRefused(t *testing.T) {
	address := testserver.Start(t, "--scratch")
	for _, options := range []p9.Options{
		{Dialects: []p9.Dialect{"9P3000"}},
		{MessageSize: 255},
		{MaxRequests: 20000},
		{MaxFids: 40000},
		{MaxFids: -1},
	} {
		if _, err := p9.Dial(context.Background(), "tcp", address, options); err == nil {
			t.Errorf("%+v was accepted", options)
		}
	}
}
