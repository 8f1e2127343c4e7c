package datakit_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	datakit "github.com/datakit-rs/datakit/std-adapter/bindings/go"
	"github.com/datakit-rs/datakit/std-adapter/bindings/go/p9"
)

func newRecord(t *testing.T, client *datakit.Client) *datakit.Record {
	t.Helper()
	record, err := datakit.NewRecord(context.Background(), client, datakit.RecordOptions{
		Lookup: []string{"master", "defaults"}, Defaults: "defaults", State: "state", Path: "app",
	})
	check(t, err)
	t.Cleanup(record.Close)
	return record
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// valueOf returns the content of a file at the head of a branch, or "none" if there is no such
// file.
func valueOf(t *testing.T, client *datakit.Client, branch, path string) string {
	t.Helper()
	ctx := context.Background()
	b, err := client.Branch(ctx, branch)
	check(t, err)
	head, err := b.Head(ctx)
	check(t, err)
	content, err := head.Tree().ReadFile(ctx, path)
	if err != nil {
		return "none"
	}
	return string(content)
}

// within returns a context with a timeout.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestRecordTakesValuesFromTheFirstBranchThatContainsThem(t *testing.T) {
	ctx := within(t)
	client := connect(t, p9.DialectU)
	record := newRecord(t, client)
	name, err := record.StringField(ctx, "name", "unnamed")
	check(t, err)
	mtu, err := record.IntField(ctx, "net/mtu", 1500)
	check(t, err)
	ipv6, err := record.BoolField(ctx, "net/ipv6", true)
	check(t, err)
	proxy, err := record.StringRefField(ctx, "net/proxy", nil)
	check(t, err)
	if got := valueOf(t, client, "defaults", "app/net/mtu"); got != "1500" {
		t.Fatalf("the default in the database is %q", got)
	}
	if got := valueOf(t, client, "master", "branch-created"); got != "" {
		t.Fatalf("branch-created is %q", got)
	}
	value, version := mtu.Get()
	if text, _ := name.Get(); value != 1500 || text != "unnamed" {
		t.Fatalf("the defaults are %d and %q", value, text)
	}
	if p, _ := proxy.Get(); p != nil {
		t.Fatalf("the proxy is %q", *p)
	}

	commit(t, masterOf(t, client), map[string]string{"app/net/mtu": " 9000\n", "app/net/ipv6": "perhaps", "other": "x"})
	check(t, record.Wait(ctx))
	if value, _ := mtu.Get(); value != 9000 || !mtu.HasChanged(version) {
		t.Fatalf("the MTU is %d", value)
	}
	// If the text is not a Boolean, the field has its default value.
	if value, _ := ipv6.Get(); !value || ipv6.HasChanged(version) {
		t.Fatal("ipv6 has changed")
	}
	if got := valueOf(t, client, "state", "app/net/mtu"); got != "9000" {
		t.Fatalf("the value in the state branch is %q", got)
	}
	if got := valueOf(t, client, "state", "app/name"); got != "unnamed" {
		t.Fatalf("the value in the state branch is %q", got)
	}

	address := "proxy:3128"
	check(t, record.SetMultiple(ctx, "two at once", proxy.To(&address), name.To("probe")))
	check(t, record.Wait(ctx))
	if p, _ := proxy.Get(); p == nil || *p != address {
		t.Fatalf("the proxy is %v", p)
	}
	if text, _ := name.Get(); text != "probe" {
		t.Fatalf("the name is %q", text)
	}
	head, err := masterOf(t, client).Head(ctx)
	check(t, err)
	message, err := head.Message(ctx)
	check(t, err)
	if message != "Unconditionally set net/proxy, name: two at once" {
		t.Fatalf("the message is %q", message)
	}

	check(t, proxy.Set(ctx, "no proxy", nil))
	check(t, record.Wait(ctx))
	if p, _ := proxy.Get(); p != nil || valueOf(t, client, "state", "app/net/proxy") != "none" {
		t.Fatalf("the proxy is %q", *p)
	}
}

func TestRecordWaitsForAChangeOfAField(t *testing.T) {
	client := connect(t, p9.DialectU)
	record := newRecord(t, client)
	mtu, err := record.IntField(within(t), "mtu", 1500)
	check(t, err)
	check(t, record.Seal(within(t)))
	// A change to another file in the directory does not count as a change to a field.
	commit(t, masterOf(t, client), map[string]string{"app/unknown": "1"})
	short, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := record.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Wait returned %v", err)
	}
	_, version := mtu.Get()
	check(t, mtu.Set(within(t), "larger", 9000))
	if mtu.HasChanged(version) {
		t.Fatal("the value changed before Wait")
	}
	// Seal reads the change, so Wait waits for the next change.
	check(t, record.Seal(within(t)))
	if !mtu.HasChanged(version) {
		t.Fatal("Seal did not read the value")
	}
	waited := make(chan error)
	go func() { waited <- record.Wait(within(t)) }()
	check(t, mtu.Set(within(t), "smaller", 500))
	check(t, <-waited)
	if value, _ := mtu.Get(); value != 500 {
		t.Fatalf("the MTU is %d", value)
	}
}

func TestRecordEndsWithItsWatches(t *testing.T) {
	client := connect(t, p9.DialectU)
	record := newRecord(t, client)
	waited := make(chan error)
	go func() { waited <- record.Wait(context.Background()) }()
	check(t, client.Close())
	if err := <-waited; !errors.Is(err, p9.ErrLost) {
		t.Fatal(err)
	}
}

func TestUpgradeWritesDefaultsOnce(t *testing.T) {
	ctx := within(t)
	client := connect(t, p9.DialectU)
	record := newRecord(t, client)
	mtu, err := record.IntField(ctx, "mtu", 1500)
	check(t, err)
	check(t, mtu.Set(ctx, "by the user", 9000))
	commit(t, branchOf(t, client, "defaults"), map[string]string{"app/mtu": "1"})
	check(t, record.Upgrade(ctx, 1))
	if got := valueOf(t, client, "defaults", "app/mtu"); got != "1" {
		t.Fatalf("an upgrade to the current version changed the default to %q", got)
	}
	check(t, record.Upgrade(ctx, 2))
	if got := valueOf(t, client, "defaults", "app/mtu"); got != "1500" {
		t.Fatalf("the default is %q", got)
	}
	if value, _ := mtu.Get(); value != 9000 {
		t.Fatalf("the value is %d", value)
	}
	if got := valueOf(t, client, "defaults", "app/schema-version"); got != "2" {
		t.Fatalf("the version of the schema is %q", got)
	}
	// Opening the record again must not reset the schema version.
	again := newRecord(t, client)
	commit(t, branchOf(t, client, "defaults"), map[string]string{"app/mtu": "7"})
	check(t, again.Upgrade(ctx, 2))
	if got := valueOf(t, client, "defaults", "app/mtu"); got != "7" {
		t.Fatalf("a second upgrade changed the default to %q", got)
	}
}

func branchOf(t *testing.T, client *datakit.Client, name string) *datakit.Branch {
	t.Helper()
	branch, err := client.Branch(context.Background(), name)
	check(t, err)
	return branch
}

func TestRecordRefusesInvalidArguments(t *testing.T) {
	ctx := within(t)
	client := connect(t, p9.DialectU)
	if _, err := datakit.NewRecord(ctx, client, datakit.RecordOptions{}); err == nil {
		t.Fatal("a record without lookup branches was accepted")
	}
	record, other := newRecord(t, client), newRecord(t, client)
	if _, err := record.StringField(ctx, "a//b", ""); !errors.Is(err, datakit.ErrInvalidPath) {
		t.Fatal(err)
	}
	field, err := other.StringField(ctx, "f", "")
	check(t, err)
	if err := record.SetMultiple(ctx, "", field.To("x")); err == nil || !strings.Contains(err.Error(), "another record") {
		t.Fatal(err)
	}
}
