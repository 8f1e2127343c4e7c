package datakit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// A Record is a typed configuration stored in a database. A record has a list of lookup branches.
// Each field takes its value from the first of these branches that contains the field's key. The
// record writes the program's defaults to the defaults branch, so users can see all keys and
// override them in another branch. The record writes the current values to the state branch.
//
//	record, err := datakit.NewRecord(ctx, client, datakit.RecordOptions{
//		Lookup: []string{"master", "defaults"}, Defaults: "defaults", State: "state", Path: "app",
//	})
//	mtu, err := record.IntField(ctx, "net/mtu", 1500)
//	for {
//		value, version := mtu.Get()
//		...
//		err := record.Wait(ctx)
//		if mtu.HasChanged(version) { ... }
//	}
//
// Any number of goroutines may use a record at the same time.
type Record struct {
	client          *Client
	lookup          []*Branch
	defaults, state *Branch
	path            string
	schema          *IntField

	watches []*Watch[*Value]
	// changes contains a value if there may be a change that Wait has not yet processed.
	changes chan struct{}
	// ended is closed when a watch ends.
	ended   chan struct{}
	endOnce sync.Once
	endErr  error
	// busy contains a value while a goroutine re-reads the fields.
	busy chan struct{}
	// written contains the values that this record has written to the state branch. Only the goroutine
	// that re-reads the fields uses this map.
	written map[string]*string

	mu      sync.Mutex
	fields  []recordField
	version Version
	// unseen is set if a value has changed since Wait or Seal last returned nil.
	unseen bool
}

// RecordOptions specifies where a record is stored.
type RecordOptions struct {
	// Lookup lists the names of the branches in which the record looks for a key, in order. Set writes
	// to the first one.
	Lookup []string
	// Defaults is the branch to which defaults are written. Defaults should also be the last branch in
	// Lookup.
	Defaults string
	// State is the branch to which the current values are written.
	State string
	// Path is the directory that contains the fields in each branch. The empty string is the root.
	Path string
}

// Names of the files that a record writes.
const (
	schemaKey   = "schema-version"
	createdFile = "branch-created"
)

// writeTries is the maximum number of attempts to make a commit that conflicts with other commits.
const writeTries = 3

// errRecordClosed is the error that Wait returns after Close.
var errRecordClosed = errors.New("the record was closed")

// NewRecord opens a record and watches its directory in every lookup branch until Close is called,
// ctx is done or the connection is lost. If a branch has no commits, NewRecord creates an initial
// commit.
func NewRecord(ctx context.Context, client *Client, options RecordOptions) (*Record, error) {
	if len(options.Lookup) == 0 {
		return nil, errors.New("datakit: a record needs at least one lookup branch")
	}
	if err := checkPath("record", options.Path); err != nil {
		return nil, err
	}
	r := &Record{
		client:  client,
		path:    options.Path,
		changes: make(chan struct{}, 1),
		ended:   make(chan struct{}),
		busy:    make(chan struct{}, 1),
		written: map[string]*string{},
		version: 1,
	}
	if err := r.open(ctx, options); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *Record) open(ctx context.Context, options RecordOptions) (err error) {
	if r.defaults, err = r.branch(ctx, options.Defaults); err != nil {
		return err
	}
	if r.state, err = r.branch(ctx, options.State); err != nil {
		return err
	}
	for _, name := range options.Lookup {
		branch, err := r.branch(ctx, name)
		if err != nil {
			return err
		}
		r.lookup = append(r.lookup, branch)
		watch, err := branch.WatchPath(ctx, r.path)
		if err != nil {
			return err
		}
		r.watches = append(r.watches, watch)
		// The first value is the current value. Later values are changes.
		if _, err := watch.Next(ctx); err != nil {
			return err
		}
	}
	for _, watch := range r.watches {
		go r.follow(watch)
	}
	return r.openSchema(ctx)
}

// branch returns a branch. If the branch has no commits, it creates an initial commit.
func (r *Record) branch(ctx context.Context, name string) (*Branch, error) {
	branch, err := r.client.Branch(ctx, name)
	if err != nil {
		return nil, err
	}
	head, err := branch.Head(ctx)
	if err != nil || head != nil {
		return branch, err
	}
	return branch, branch.Update(ctx, func(tx *Transaction) error {
		if err := tx.CreateFile(ctx, createdFile, nil, false); err != nil {
			return err
		}
		_, err := tx.Commit(ctx, "Creating branch")
		return err
	})
}

// openSchema declares the field that contains the schema version. openSchema does not change an
// existing default, because that default is the version of the last upgrade.
func (r *Record) openSchema(ctx context.Context) error {
	r.schema = intField(schemaKey, 1)
	head, err := r.defaults.Head(ctx)
	if err != nil {
		return err
	}
	present, err := readKey(ctx, head, join(r.path, schemaKey))
	if err != nil {
		return err
	}
	if present == nil {
		return declare(ctx, r, r.schema)
	}
	return adopt(ctx, r, r.schema)
}

func (r *Record) follow(watch *Watch[*Value]) {
	for range watch.C {
		r.signal()
	}
	err := watch.Err()
	if err == nil {
		err = errRecordClosed
	}
	r.endOnce.Do(func() {
		r.endErr = failed("record", r.path, err)
		close(r.ended)
	})
}

// signal makes Wait re-read the fields.
func (r *Record) signal() {
	select {
	case r.changes <- struct{}{}:
	default:
	}
}

// Close ends the watches. After Close, Wait fails.
func (r *Record) Close() {
	for _, watch := range r.watches {
		watch.Close()
	}
}

// Wait waits until the value of a field changes. Wait then increases the version and writes the
// current values to the state branch. If a value has changed since the last Wait or Seal, Wait
// returns without waiting for another change.
func (r *Record) Wait(ctx context.Context) error {
	for {
		select {
		case <-r.changes:
		case <-r.ended:
			return r.endErr
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := r.refresh(ctx); err != nil {
			// The next call to Wait must process the change.
			r.signal()
			return err
		}
		if r.takeUnseen() {
			return nil
		}
	}
}

// Seal re-reads all fields without waiting for a change and writes the current values to the state
// branch.
func (r *Record) Seal(ctx context.Context) error {
	if err := r.refresh(ctx); err != nil {
		return err
	}
	r.takeUnseen()
	return nil
}

func (r *Record) takeUnseen() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	unseen := r.unseen
	r.unseen = false
	return unseen
}

// SetMultiple writes multiple values to the first lookup branch in one commit.
func (r *Record) SetMultiple(ctx context.Context, description string, settings ...Setting) error {
	keys := make([]string, len(settings))
	for i, setting := range settings {
		if setting.record != r {
			return fmt.Errorf("datakit: the field %q belongs to another record", setting.key)
		}
		keys[i] = setting.key
	}
	message := fmt.Sprintf("Unconditionally set %s: %s", strings.Join(keys, ", "), description)
	return r.set(ctx, message, settings...)
}

func (r *Record) set(ctx context.Context, message string, settings ...Setting) error {
	return r.write(ctx, r.lookup[0], message, settings)
}

// Upgrade does nothing if the schema version in the database is schemaVersion or higher. Otherwise,
// it writes the defaults of all fields and the version to the defaults branch in one commit, and
// re-reads the fields. Upgrade does not change values in other branches.
func (r *Record) Upgrade(ctx context.Context, schemaVersion int) error {
	if err := r.Seal(ctx); err != nil {
		return err
	}
	if present, _ := r.schema.Get(); schemaVersion <= present {
		return nil
	}
	r.mu.Lock()
	r.schema.fallback = schemaVersion
	settings := make([]Setting, len(r.fields))
	for i, field := range r.fields {
		settings[i] = Setting{record: r, key: field.name(), text: field.defaultText()}
	}
	r.mu.Unlock()
	message := fmt.Sprintf("Upgrade to schema version %d", schemaVersion)
	if err := r.write(ctx, r.defaults, message, settings); err != nil {
		return err
	}
	return r.Seal(ctx)
}

// acquire waits until no other goroutine is re-reading the fields.
func (r *Record) acquire(ctx context.Context) error {
	select {
	case r.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *Record) release() { <-r.busy }

// refresh re-reads all fields.
func (r *Record) refresh(ctx context.Context) error {
	if err := r.acquire(ctx); err != nil {
		return err
	}
	defer r.release()
	heads, err := r.heads(ctx)
	if err != nil {
		return err
	}
	r.mu.Lock()
	fields := append([]recordField{}, r.fields...)
	r.mu.Unlock()
	texts := make([]*string, len(fields))
	for i, field := range fields {
		if texts[i], err = r.find(ctx, heads, field.name()); err != nil {
			return err
		}
	}
	r.apply(fields, texts)
	return r.writeState(ctx, fields)
}

// apply sets the fields from the text of their keys. If a value changes, apply increases the
// record's version.
func (r *Record) apply(fields []recordField, texts []*string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed := false
	for i, field := range fields {
		if field.update(texts[i], r.version+1) {
			changed = true
		}
	}
	if changed {
		r.version++
		r.unseen = true
	}
}

// writeState writes the current values to the state branch. It skips values that it has already
// written.
func (r *Record) writeState(ctx context.Context, fields []recordField) error {
	var settings []Setting
	r.mu.Lock()
	for _, field := range fields {
		text := field.currentText()
		if last, ok := r.written[field.name()]; !ok || !sameText(last, text) {
			settings = append(settings, Setting{record: r, key: field.name(), text: text})
		}
	}
	r.mu.Unlock()
	if len(settings) == 0 {
		return nil
	}
	if err := r.write(ctx, r.state, "Updating state branch", settings); err != nil {
		return err
	}
	for _, setting := range settings {
		r.written[setting.key] = setting.text
	}
	return nil
}
