// Tour commits files to a database, reads them with the standard library and watches a file for
// changes.
//
//	datakit serve &
//	go run ./examples/tour localhost:5640
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"time"

	datakit "github.com/datakit-rs/datakit/std-adapter/bindings/go"
)

func main() {
	log.SetFlags(0)
	address := "localhost:5640"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := tour(ctx, address); err != nil {
		log.Fatal(err)
	}
}

func tour(ctx context.Context, address string) error {
	client, err := datakit.Dial(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer client.Close()
	branch, err := client.Branch(ctx, "tour")
	if err != nil {
		return err
	}

	// A watch first delivers the current value, which is nil because the file does not exist yet.
	watch, err := branch.WatchPath(ctx, "etc/motd")
	if err != nil {
		return err
	}
	defer watch.Close()
	if value := <-watch.C; value != nil {
		return errors.New("the file etc/motd already exists in the branch tour")
	}

	head, err := commit(ctx, branch)
	if err != nil {
		return err
	}
	value, err := watch.Next(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("the new content is: %s", value.Content)

	// FS returns the commit's files as an fs.FS.
	err = fs.WalkDir(head.Tree().FS(ctx), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			fmt.Println(path)
		}
		return err
	})
	if err != nil {
		return err
	}

	_, err = head.Tree().ReadFile(ctx, "etc/shadow")
	fmt.Println(err, errors.Is(err, fs.ErrNotExist))
	return nil
}

func commit(ctx context.Context, branch *datakit.Branch) (head *datakit.Commit, err error) {
	err = branch.Update(ctx, func(tx *datakit.Transaction) error {
		if err := tx.Write(ctx, "etc/motd", []byte("hello\n")); err != nil {
			return err
		}
		if err := tx.Write(ctx, "usr/share/doc/copyright", nil); err != nil {
			return err
		}
		head, err = tx.Commit(ctx, "Two files")
		return err
	})
	return head, err
}
