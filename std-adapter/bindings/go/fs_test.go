package datakit_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	datakit "github.com/datakit-rs/datakit/std-adapter/bindings/go"
	"github.com/datakit-rs/datakit/std-adapter/bindings/go/internal/testserver"
	"github.com/datakit-rs/datakit/std-adapter/bindings/go/p9"
)

// connect starts a server and connects to it using the given dialect.
func connect(t testing.TB, dialect p9.Dialect) *datakit.Client {
	t.Helper()
	return connectWith(t, p9.Options{Dialects: []p9.Dialect{dialect}})
}

func connectWith(t testing.TB, options p9.Options) *datakit.Client {
	t.Helper()
	files, err := p9.Dial(context.Background(), "tcp", testserver.Start(t), options)
	if err != nil {
		t.Fatal(err)
	}
	client := datakit.NewClient(files)
	t.Cleanup(func() { client.Close() })
	return client
}

func masterOf(t testing.TB, client *datakit.Client) *datakit.Branch {
	t.Helper()
	master, err := client.Branch(context.Background(), "master")
	if err != nil {
		t.Fatal(err)
	}
	return master
}

// commit commits files. The map contains their paths and contents.
func commit(t testing.TB, branch *datakit.Branch, files map[string]string) *datakit.Commit {
	t.Helper()
	ctx := context.Background()
	var head *datakit.Commit
	err := branch.Update(ctx, func(tx *datakit.Transaction) error {
		for path, content := range files {
			if err := tx.Write(ctx, path, []byte(content)); err != nil {
				return err
			}
		}
		var err error
		head, err = tx.Commit(ctx, "Files of the test")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return head
}

func TestSnapshotImplementsFS(t *testing.T) {
	for _, dialect := range []p9.Dialect{p9.DialectU, p9.DialectL, p9.Dialect0} {
		dialect := dialect
		t.Run(string(dialect), func(t *testing.T) {
			ctx := context.Background()
			// The messages are small, so the large file and the directories need multiple messages.
			client := connectWith(t, p9.Options{Dialects: []p9.Dialect{dialect}, MessageSize: 1024})
			master := masterOf(t, client)
			links := dialect != p9.Dialect0
			commit(t, master, map[string]string{
				"motd": "hello\n", "empty": "", "etc/app/level": "debug\n", "etc/motd": "x", "run": "#!/bin/sh\n",
				"a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s": "deep", "large": strings.Repeat("0123456789", 300),
			})
			var head *datakit.Commit
			err := master.Update(ctx, func(tx *datakit.Transaction) (err error) {
				if err = tx.SetExecutable(ctx, "run", true); err != nil {
					return err
				}
				if links {
					for path, target := range map[string]string{"link": "etc/motd", "etc/up": "../motd"} {
						if err = tx.CreateSymlink(ctx, path, target); err != nil {
							return err
						}
					}
				}
				head, err = tx.Commit(ctx, "Modes and links")
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			tree := head.Tree().FS(ctx)
			expected := []string{"motd", "empty", "etc/app/level", "etc/motd", "run", "large", "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s"}
			if err := fstest.TestFS(tree, expected...); err != nil {
				t.Fatal(err)
			}
			if links {
				for path, want := range map[string]string{"link": "x", "etc/up": "hello\n"} {
					if content, err := fs.ReadFile(tree, path); err != nil || string(content) != want {
						t.Errorf("%s contains %q, %v", path, content, err)
					}
				}
			}
			info, err := fs.Stat(tree, "run")
			if err != nil || info.Mode().Perm()&0o111 != 0o111 {
				t.Errorf("run is not executable: %v, %v", info, err)
			}
			if info, err := fs.Stat(tree, "motd"); err != nil || info.Mode().Perm()&0o111 != 0 || info.ModTime().IsZero() {
				t.Errorf("motd: %v, %v", info, err)
			}
			noLeaks(t, client.Files())
		})
	}
}

func TestFileSystemErrorsMatchThePackageFS(t *testing.T) {
	ctx := context.Background()
	client := connect(t, p9.DialectU)
	master := masterOf(t, client)
	commit(t, master, map[string]string{"d/f": "1"})
	var head *datakit.Commit
	err := master.Update(ctx, func(tx *datakit.Transaction) (err error) {
		for path, target := range map[string]string{"loop": "loop", "outside": "../../x", "absolute": "/etc/passwd", "dir": "d"} {
			if err := tx.CreateSymlink(ctx, path, target); err != nil {
				return err
			}
		}
		head, err = tx.Commit(ctx, "Links that lead nowhere")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	tree := head.Tree().FS(ctx)
	for _, c := range []struct {
		path string
		want error
	}{
		{"nope", fs.ErrNotExist},
		{"d/nope/x", fs.ErrNotExist},
		{"d/f/x", datakit.ErrNotDir},
		{"/d", fs.ErrInvalid},
		{"d/", fs.ErrInvalid},
		{"../d", fs.ErrInvalid},
		{"", fs.ErrInvalid},
		{"d", datakit.ErrIsDir},
		{"loop", nil},
		{"outside", nil},
		{"absolute", nil},
	} {
		_, err := tree.ReadFile(c.path)
		var path *fs.PathError
		if !errors.As(err, &path) || path.Path != c.path || (c.want != nil && !errors.Is(err, c.want)) {
			t.Errorf("reading %q: %v", c.path, err)
		}
	}
	// fstest.TestFS does not support links to directories.
	if content, err := tree.ReadFile("dir/f"); err != nil || string(content) != "1" {
		t.Errorf("a file behind a link to a directory: %q, %v", content, err)
	}
	if _, err := tree.ReadDir("d/f"); !errors.Is(err, datakit.ErrNotDir) {
		t.Errorf("listing a file: %v", err)
	}
	noLeaks(t, client.Files())
}

func TestFileOfFSImplementsSeekerAndReaderAt(t *testing.T) {
	client := connect(t, p9.DialectU)
	head := commit(t, masterOf(t, client), map[string]string{"f": "0123456789"})
	file, err := head.Tree().FS(context.Background()).Open("f")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.(io.Seeker).Seek(-3, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(file); err != nil || string(rest) != "789" {
		t.Fatalf("after a seek: %q, %v", rest, err)
	}
	part := make([]byte, 4)
	if n, err := file.(io.ReaderAt).ReadAt(part, 2); err != nil || string(part[:n]) != "2345" {
		t.Fatalf("ReadAt: %q, %v", part[:n], err)
	}
	if n, err := file.(io.ReaderAt).ReadAt(part, 8); err != io.EOF || string(part[:n]) != "89" {
		t.Fatalf("ReadAt at the end: %q, %v", part[:n], err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Fatalf("the second Close: %v", err)
	}
}
