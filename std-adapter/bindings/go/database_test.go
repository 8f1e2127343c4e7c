package datakit_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	datakit "github.com/datakit-rs/datakit/std-adapter/bindings/go"
	"github.com/datakit-rs/datakit/std-adapter/bindings/go/p9"
)

// openTransactions lists a branch's open transactions on the server.
func openTransactions(t *testing.T, client *datakit.Client) []*p9.DirEntry {
	t.Helper()
	entries, err := client.Files().ReadDir(context.Background(), "branch/master/transactions")
	check(t, err)
	return entries
}

func TestAbortClosesTheTransactionOnTheServer(t *testing.T) {
	ctx := within(t)
	client := connect(t, p9.DialectU)
	master := masterOf(t, client)
	tx, err := master.Begin(ctx)
	check(t, err)
	if len(openTransactions(t, client)) != 1 {
		t.Fatal("the server has no transaction")
	}
	tx.Abort()
	tx.Abort()
	if open := openTransactions(t, client); len(open) != 0 || !tx.Ended() {
		t.Fatalf("the server still has %v", open)
	}
	if _, err := tx.Commit(ctx, "too late"); !errors.Is(err, datakit.ErrTransactionEnded) {
		t.Fatal(err)
	}
	if _, err := tx.Read(ctx, "f"); !errors.Is(err, datakit.ErrTransactionEnded) {
		t.Fatal(err)
	}
}

func TestUpdateAbortsUnlessTheFunctionCommits(t *testing.T) {
	ctx := within(t)
	client := connect(t, p9.DialectU)
	master := masterOf(t, client)
	reason := errors.New("reason")
	if err := master.Update(ctx, func(*datakit.Transaction) error { return reason }); err != reason {
		t.Fatal(err)
	}
	err := master.Update(ctx, func(*datakit.Transaction) error { return nil })
	if !errors.Is(err, datakit.ErrTransactionOpen) {
		t.Fatal(err)
	}
	func() {
		defer func() { recover() }()
		master.Update(ctx, func(*datakit.Transaction) error { panic("in the function") })
	}()
	if open := openTransactions(t, client); len(open) != 0 {
		t.Fatalf("the server still has %v", open)
	}
}

func TestCancelledBeginLeavesNoTransaction(t *testing.T) {
	client := connect(t, p9.DialectU)
	master := masterOf(t, client)
	var callers sync.WaitGroup
	for i := 0; i < 200; i++ {
		timeout := time.Duration(i*5) * time.Microsecond
		callers.Add(1)
		go func() {
			defer callers.Done()
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			defer cancel()
			if tx, err := master.Begin(ctx); err == nil {
				tx.Abort()
			}
		}()
	}
	callers.Wait()
	for end := time.Now().Add(10 * time.Second); len(openTransactions(t, client)) > 0; {
		if time.Now().After(end) {
			t.Fatalf("the server still has %v", openTransactions(t, client))
		}
	}
	noLeaks(t, client.Files())
}

func TestFastForwardOnlyLetsExactlyOneOfManySucceed(t *testing.T) {
	ctx := within(t)
	client := connect(t, p9.DialectU)
	master := masterOf(t, client)
	commit(t, master, map[string]string{"n": "0"})
	var all []*datakit.Transaction
	for i := 0; i < 5; i++ {
		tx, err := master.Begin(ctx)
		check(t, err)
		check(t, tx.Write(ctx, fmt.Sprint("file", i), nil))
		all = append(all, tx)
	}
	succeeded := 0
	for _, tx := range all {
		_, err := tx.CommitWith(ctx, "race", datakit.CommitOptions{FastForwardOnly: true})
		switch {
		case err == nil:
			succeeded++
		case !errors.Is(err, datakit.ErrNotFastForward) || tx.Ended():
			t.Fatal(err)
		}
		tx.Abort()
	}
	if succeeded != 1 {
		t.Fatalf("%d transactions succeeded", succeeded)
	}
}

func TestCommitIfChanged(t *testing.T) {
	ctx := within(t)
	client := connect(t, p9.DialectU)
	master := masterOf(t, client)
	first := commit(t, master, map[string]string{"f": "1"})
	tx, err := master.Begin(ctx)
	check(t, err)
	head, err := tx.CommitWith(ctx, "nothing", datakit.CommitOptions{IfChanged: true})
	check(t, err)
	if head.Hash() != first.Hash() {
		t.Fatalf("the head is %s, not %s", head, first)
	}
}

func TestErrorsContainTheOperationAndItsObject(t *testing.T) {
	ctx := within(t)
	client := connect(t, p9.DialectU)
	head := commit(t, masterOf(t, client), map[string]string{"f": "1"})
	_, err := head.Tree().ReadFile(ctx, "etc/shadow")
	if err == nil || err.Error() != "read etc/shadow: No such file or directory" || !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var reply *p9.Error
	if !errors.As(err, &reply) || reply.Errno != 2 {
		t.Fatalf("the cause is %v", reply)
	}
	_, err = client.Branch(ctx, "a..b")
	if err == nil || err.Error() != `branch "a..b": it contains ".."` {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := head.Tree().ReadFile(ended, "f"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestCommitDetails(t *testing.T) {
	ctx := within(t)
	client := connect(t, p9.DialectU)
	master := masterOf(t, client)
	first := commit(t, master, map[string]string{"f": "1"})
	tx, err := master.Begin(ctx)
	check(t, err)
	check(t, tx.SetAuthor(ctx, "Alice <alice@example.org>"))
	check(t, tx.Write(ctx, "f", []byte("2")))
	head, err := tx.Commit(ctx, "Second")
	check(t, err)
	details, err := head.Details(ctx)
	check(t, err)
	if details.Author != "Alice <alice@example.org>" || details.Message != "Second" || details.Date.IsZero() ||
		len(details.Parents) != 1 || details.Parents[0].Hash() != first.Hash() {
		t.Fatalf("the details are %+v", details)
	}
}

func TestWatchEndsWithItsContextAndWithClose(t *testing.T) {
	client := connect(t, p9.DialectU)
	master := masterOf(t, client)
	for i := 0; i < 2000; i++ {
		ctx, cancel := context.WithCancel(context.Background())
		watch, err := master.WatchHead(ctx)
		check(t, err)
		if i%100 == 0 {
			if head, err := watch.Next(within(t)); head != nil || err != nil {
				t.Fatalf("the head is %v, %v", head, err)
			}
		}
		if i%2 == 0 {
			watch.Close()
			watch.Close()
			if err := watch.Err(); err != nil {
				t.Fatal(err)
			}
		} else {
			cancel()
			for range watch.C {
			}
			if err := watch.Err(); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		cancel()
	}
	noLeaks(t, client.Files())
}

func TestWatchReportsALostConnection(t *testing.T) {
	client := connect(t, p9.DialectU)
	master := masterOf(t, client)
	watch, err := master.WatchPath(context.Background(), "f")
	check(t, err)
	if value := <-watch.C; value != nil {
		t.Fatalf("the value is %v", value)
	}
	check(t, client.Close())
	if _, ok := <-watch.C; ok {
		t.Fatal("the watch delivers another value")
	}
	if err := watch.Err(); !errors.Is(err, p9.ErrLost) {
		t.Fatal(err)
	}
}

func TestCancelledReadOfAStreamLosesNothing(t *testing.T) {
	client := connect(t, p9.DialectU)
	master := masterOf(t, client)
	file, err := client.Files().Open(within(t), "branch/master/head.live", p9.ReadOnly)
	check(t, err)
	defer file.Release()
	stream := file.Deliveries()
	if first, err := stream.Next(within(t)); err != nil || string(first) != "\n" {
		t.Fatalf("the first delivery is %q, %v", first, err)
	}
	for i := 0; i < 20; i++ {
		short, cancel := context.WithTimeout(context.Background(), time.Duration(i*200)*time.Microsecond)
		if text, err := stream.Next(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("a delivery without a change: %q, %v", text, err)
		}
		cancel()
		head := commit(t, master, map[string]string{"n": fmt.Sprint(i)})
		if text, err := stream.Next(within(t)); err != nil || string(text) != head.String()+"\n" {
			t.Fatalf("delivery %d is %q, %v", i, text, err)
		}
	}
}

func TestTreeRefusesInvalidIDs(t *testing.T) {
	client := connect(t, p9.DialectU)
	for _, id := range []string{"", "D-", "../branch", "Z-ce013625030ba8dba906f756967f9e9ca394464a"} {
		if _, err := client.Tree(id).ReadDir(within(t), ""); !errors.Is(err, datakit.ErrInvalidHash) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestReflogDeliversEveryHead(t *testing.T) {
	ctx := within(t)
	client := connect(t, p9.DialectU)
	master := masterOf(t, client)
	reflog, err := master.Reflog(ctx)
	check(t, err)
	defer reflog.Close()
	var heads []*datakit.Commit
	for i := 0; i < 20; i++ {
		heads = append(heads, commit(t, master, map[string]string{"n": fmt.Sprint(i)}))
	}
	for i, want := range heads {
		got, err := reflog.Next(ctx)
		check(t, err)
		if got.Hash() != want.Hash() {
			t.Fatalf("head %d is %s, not %s", i, got, want)
		}
	}
}

func TestGoroutinesShareOneConnection(t *testing.T) {
	ctx := within(t)
	client := connect(t, p9.DialectU)
	master := masterOf(t, client)
	var writers sync.WaitGroup
	for i := 0; i < 16; i++ {
		i := i
		writers.Add(1)
		go func() {
			defer writers.Done()
			err := master.Update(ctx, func(tx *datakit.Transaction) error {
				if err := tx.Write(ctx, fmt.Sprintf("d%d/f", i), []byte("x")); err != nil {
					return err
				}
				_, err := tx.Commit(ctx, "one of many")
				return err
			})
			if err != nil {
				t.Error(err)
			}
		}()
	}
	writers.Wait()
	head, err := master.Head(ctx)
	check(t, err)
	if names, err := head.Tree().ReadDir(ctx, ""); err != nil || len(names) != 16 {
		t.Fatalf("the directories are %v, %v", names, err)
	}
	noLeaks(t, client.Files())
}

func TestFetchReturnsACommitOfAnotherRepository(t *testing.T) {
	ctx := within(t)
	client := connect(t, p9.DialectU)
	dir := t.TempDir()
	script := `git init -q -b main . && echo hello >motd && git add motd &&
		git -c user.name=Test -c user.email=test@example.org commit -q -m First`
	git := exec.Command("sh", "-c", script)
	git.Dir = dir
	if output, err := git.CombinedOutput(); err != nil {
		t.Fatalf("git: %v: %s", err, output)
	}
	head, err := client.Fetch(ctx, dir, "main")
	check(t, err)
	check(t, masterOf(t, client).FastForward(ctx, head))
	content, err := head.Tree().ReadFile(ctx, "motd")
	check(t, err)
	if string(content) != "hello\n" {
		t.Fatalf("the file contains %q", content)
	}
	if _, err := client.Fetch(ctx, dir, "nope"); err == nil {
		t.Fatal("a branch that does not exist was fetched")
	}
	noRemotes := func() bool {
		entries, err := client.Files().ReadDir(ctx, "remotes")
		return err == nil && len(entries) == 0
	}
	for !noRemotes() {
		check(t, ctx.Err())
		time.Sleep(time.Millisecond)
	}
}

func TestFailedFetchReportsTheWholeReason(t *testing.T) {
	// An error reply truncates the text, and has no text in 9P2000.L.
	for _, dialect := range []p9.Dialect{p9.DialectU, p9.DialectL, p9.Dialect0} {
		ctx := within(t)
		client := connect(t, dialect)
		_, err := client.Fetch(ctx, "/nonexistent/repository", "main")
		const start = "fetch /nonexistent/repository: error: cannot fetch /nonexistent/repository: fatal: "
		if err == nil || !strings.HasPrefix(err.Error(), start) || !strings.HasSuffix(err.Error(), "and the repository exists.") {
			t.Fatalf("%s: %v", dialect, err)
		}
		var reply *p9.Error
		if !errors.As(err, &reply) {
			t.Fatalf("%s: the cause is not an error reply: %v", dialect, err)
		}
		// The server ignores an empty command.
		for _, branch := range []string{"", " ", "a..b"} {
			short, cancel := context.WithTimeout(ctx, 20*time.Second)
			if _, err := client.Fetch(short, "/nonexistent", branch); !errors.Is(err, datakit.ErrInvalidBranch) {
				t.Fatalf("%s: %q: %v", dialect, branch, err)
			}
			cancel()
		}
	}
}
