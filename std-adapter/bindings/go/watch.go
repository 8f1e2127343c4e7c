package datakit

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/datakit-rs/datakit/std-adapter/bindings/go/p9"
)

// A Watch receives values from the server. Receive from C until it is closed, then call Err.
//
// A watch uses one of the connection's fids and keeps one request in flight. A watch ends when its
// context is done, when Close is called, when the server ends the stream or when the connection is
// lost. It does not reconnect.
type Watch[T any] struct {
	// C delivers the values. C is closed when the watch ends.
	C <-chan T

	cancel context.CancelFunc
	ended  chan struct{}
	// err is set before C is closed.
	err error
}

// Err returns the reason why the watch ended. Err returns nil while the watch is running and after
// Close.
func (w *Watch[T]) Err() error {
	select {
	case <-w.ended:
		return w.err
	default:
		return nil
	}
}

// Next receives a value. If the watch has ended, Next returns the reason as an error. If ctx is
// done first, Next returns ctx.Err().
func (w *Watch[T]) Next(ctx context.Context) (value T, err error) {
	select {
	case value, ok := <-w.C:
		if !ok {
			<-w.ended
			if w.err == nil {
				return value, errClosedWatch
			}
			return value, w.err
		}
		return value, nil
	case <-ctx.Done():
		return value, ctx.Err()
	}
}

var errClosedWatch = errors.New("the watch was closed")

// Close ends the watch and waits for its goroutine to end. Calling Close again has no effect.
func (w *Watch[T]) Close() {
	w.cancel()
	<-w.ended
}

// newWatch opens a stream file. parse converts each line of the file to a value.
func newWatch[T any](ctx context.Context, c *Client, path string, parse func(context.Context, string) (T, error)) (*Watch[T], error) {
	file, err := c.files.Open(ctx, path, p9.ReadOnly)
	if err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(ctx)
	values := make(chan T)
	w := &Watch[T]{C: values, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer file.Release()
		err := deliver(run, file.Deliveries(), values, parse)
		// If only run was cancelled, Close was called and Err must return nil.
		if run.Err() == nil || ctx.Err() != nil {
			w.err = failed("watch", path, err)
		}
		cancel()
		// By the time C is closed, Err must already return the reason.
		close(w.ended)
		close(values)
	}()
	return w, nil
}

// deliver sends a value for each line of the stream until the stream ends or ctx is done.
func deliver[T any](ctx context.Context, stream *p9.Deliveries, values chan<- T, parse func(context.Context, string) (T, error)) error {
	for {
		text, err := stream.Next(ctx)
		if err == io.EOF {
			return ErrStreamEnded
		}
		if err != nil {
			return err
		}
		for _, line := range strings.SplitAfter(string(text), "\n") {
			if line == "" {
				continue
			}
			value, err := parse(ctx, strings.TrimSpace(line))
			if err != nil {
				return err
			}
			select {
			case values <- value:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// A Value is the entry at a path: a file, a symbolic link or a directory.
type Value struct {
	// Kind is the type of the entry.
	Kind Kind
	// ID identifies the content. For a file, it is "F-" followed by a hash. Client.Tree accepts this
	// id.
	ID string
	// Content contains the bytes of a file or the target of a link. Content is nil for a directory.
	Content []byte
	// Tree is the directory as it was at the time of the change. Tree is nil for a file or a link.
	Tree *Tree
}

// watchFile returns the path of the file that streams changes to the given path. The result is
// relative to the branch's directory.
func watchFile(path string) string {
	file := "watch/"
	if path != "" {
		file += strings.ReplaceAll(path, "/", ".node/") + ".node/"
	}
	return file + "tree.live"
}

// readValue reads the object whose id was read from tree.live. An empty id means that the path does
// not exist.
func (c *Client) readValue(ctx context.Context, id string) (*Value, error) {
	if id == "" {
		return nil, nil
	}
	value := &Value{ID: id}
	switch {
	case strings.HasPrefix(id, "D-"):
		value.Kind, value.Tree = KindDir, c.Tree(id)
		return value, nil
	case strings.HasPrefix(id, "F-"):
		value.Kind = KindFile
	case strings.HasPrefix(id, "X-"):
		value.Kind = KindExec
	case strings.HasPrefix(id, "L-"):
		value.Kind = KindLink
	default:
		return nil, errors.New("the server sent the id " + id + ", which does not begin with D-, F-, X- or L-")
	}
	content, err := c.files.ReadFile(ctx, "trees/"+id)
	value.Content = content
	return value, err
}
