package datakit_test

import (
	"context"
	"fmt"
	"io/fs"
	"log"

	datakit "github.com/datakit-rs/datakit/std-adapter/bindings/go"
	"github.com/datakit-rs/datakit/std-adapter/bindings/go/internal/testserver"
)

// exampleServer starts a server for an example.
func exampleServer() (address string, stop func()) {
	address, stop, err := testserver.Run()
	if err != nil {
		log.Fatal(err)
	}
	return address, stop
}

func Example() {
	address, stop := exampleServer()
	defer stop()
	ctx := context.Background()

	client, err := datakit.Dial(ctx, "tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	master, err := client.Branch(ctx, "master")
	if err != nil {
		log.Fatal(err)
	}
	tx, err := master.Begin(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Abort() // does nothing after a commit
	if err := tx.Write(ctx, "etc/motd", []byte("hello\n")); err != nil {
		log.Fatal(err)
	}
	head, err := tx.Commit(ctx, "Say hello")
	if err != nil {
		log.Fatal(err)
	}
	motd, err := fs.ReadFile(head.Tree().FS(ctx), "etc/motd")
	fmt.Printf("%s%v\n", motd, err)
	// Output:
	// hello
	// <nil>
}

func ExampleRecord() {
	address, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	client, err := datakit.Dial(ctx, "tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	record, err := datakit.NewRecord(ctx, client, datakit.RecordOptions{
		Lookup: []string{"master", "defaults"}, Defaults: "defaults", State: "state", Path: "app",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer record.Close()
	mtu, err := record.IntField(ctx, "net/mtu", 1500)
	if err != nil {
		log.Fatal(err)
	}
	value, version := mtu.Get()
	fmt.Println("MTU", value)
	if err := mtu.Set(ctx, "jumbo frames", 9000); err != nil {
		log.Fatal(err)
	}
	for !mtu.HasChanged(version) {
		if err := record.Wait(ctx); err != nil {
			log.Fatal(err)
		}
	}
	value, _ = mtu.Get()
	fmt.Println("MTU", value)
	// Output:
	// MTU 1500
	// MTU 9000
}
