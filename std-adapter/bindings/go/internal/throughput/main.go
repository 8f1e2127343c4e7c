// Throughput measures how many small files per second a client can read over one connection with
// many requests in flight.
package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	datakit "github.com/datakit-rs/datakit/std-adapter/bindings/go"
	"github.com/datakit-rs/datakit/std-adapter/bindings/go/internal/testserver"
)

const (
	reads    = 1000
	inFlight = 32
)

func main() {
	rate, err := measure(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, "throughput:", err)
		os.Exit(1)
	}
	fmt.Printf("go: %d pipelined reads: %.0f/s\n", reads, rate)
}

func measure(ctx context.Context) (perSecond float64, err error) {
	address, stop, err := testserver.Run()
	if err != nil {
		return 0, err
	}
	defer stop()
	client, err := datakit.Dial(ctx, "tcp", address)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	tree, err := smallFile(ctx, client)
	if err != nil {
		return 0, err
	}
	tickets := make(chan struct{}, reads)
	for i := 0; i < reads; i++ {
		tickets <- struct{}{}
	}
	close(tickets)
	errs := make(chan error, inFlight)
	var readers sync.WaitGroup
	began := time.Now()
	for i := 0; i < inFlight; i++ {
		readers.Add(1)
		go func() {
			defer readers.Done()
			for range tickets {
				if _, err := tree.ReadFile(ctx, "small"); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	readers.Wait()
	elapsed := time.Since(began)
	select {
	case err := <-errs:
		return 0, err
	default:
		return reads / elapsed.Seconds(), nil
	}
}

// smallFile commits a small file and returns its tree.
func smallFile(ctx context.Context, client *datakit.Client) (*datakit.Tree, error) {
	branch, err := client.Branch(ctx, "master")
	if err != nil {
		return nil, err
	}
	tx, err := branch.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer tx.Abort()
	if err := tx.Write(ctx, "small", []byte("hello\n")); err != nil {
		return nil, err
	}
	head, err := tx.Commit(ctx, "A small file")
	if err != nil {
		return nil, err
	}
	return head.Tree(), nil
}
