package p9_test

import (
	"context"
	"testing"
	"time"

	"github.com/datakit-rs/datakit/std-adapter/bindings/go/internal/testserver"
	"github.com/datakit-rs/datakit/std-adapter/bindings/go/p9"
)

func TestWatchOfAParameterReturnsEveryValue(t *testing.T) {
	address := testserver.StartSettings(t)
	for _, dialect := range dialects {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		client, err := p9.Dial(ctx, "tcp", address, p9.Options{Dialects: []p9.Dialect{dialect}})
		check(t, err)
		defer client.Close()
		check(t, client.WriteFile(ctx, "params/pool/most", []byte("10")))
		values, err := client.Watch(ctx, "params/pool/most")
		check(t, err)
		for _, want := range []string{"10", "20", "30"} {
			if want != "10" {
				check(t, client.WriteFile(ctx, "params/pool/most", []byte(want)))
			}
			if value, err := values.Next(ctx); err != nil || string(value) != want+"\n" {
				t.Fatalf("%s: the value is %q, not %s: %v", dialect, value, want, err)
			}
		}
		values.Release()
		values.Release()
		noLeaks(t, client)
	}
}
