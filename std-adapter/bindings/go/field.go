package datakit

import (
	"context"
	"fmt"
	"strconv"
)

// A Version counts the changes to a record.
type Version int

// A Field is a value in a record. Any number of goroutines may use a field at the same time.
type Field[T any] struct {
	record *Record
	key    string
	// parse returns false if the text is not a valid value.
	parse func(text string) (T, bool)
	// format returns nil if the value means that the key is absent.
	format func(value T) *string
	// The record's lock protects the following fields.
	fallback T
	value    T
	version  Version
}

// The field types.
type (
	// A StringField contains a string.
	StringField = Field[string]
	// An IntField contains an integer.
	IntField = Field[int]
	// A BoolField contains a Boolean.
	BoolField = Field[bool]
	// A StringRefField contains a string, or nil if the key is absent.
	StringRefField = Field[*string]
)

// StringField declares a string field and writes its default to the defaults branch. The key may
// contain slashes.
func (r *Record) StringField(ctx context.Context, key, fallback string) (*StringField, error) {
	f := &StringField{key: key, fallback: fallback,
		parse:  func(text string) (string, bool) { return text, true },
		format: func(value string) *string { return &value },
	}
	return f, declare(ctx, r, f)
}

// IntField declares an integer field and writes its default to the defaults branch. If the text in
// the database is not a number, the field has its default value.
func (r *Record) IntField(ctx context.Context, key string, fallback int) (*IntField, error) {
	f := intField(key, fallback)
	return f, declare(ctx, r, f)
}

func intField(key string, fallback int) *IntField {
	return &IntField{key: key, fallback: fallback,
		parse: func(text string) (int, bool) {
			value, err := strconv.Atoi(text)
			return value, err == nil
		},
		format: func(value int) *string {
			text := strconv.Itoa(value)
			return &text
		},
	}
}

// BoolField declares a Boolean field and writes its default to the defaults branch. If the text in
// the database is not a Boolean, the field has its default value.
func (r *Record) BoolField(ctx context.Context, key string, fallback bool) (*BoolField, error) {
	f := &BoolField{key: key, fallback: fallback,
		parse: func(text string) (bool, bool) {
			value, err := strconv.ParseBool(text)
			return value, err == nil
		},
		format: func(value bool) *string {
			text := strconv.FormatBool(value)
			return &text
		},
	}
	return f, declare(ctx, r, f)
}

// StringRefField declares a string field whose key may be absent. StringRefField writes the default
// to the defaults branch, or removes the key from that branch if the default is nil.
func (r *Record) StringRefField(ctx context.Context, key string, fallback *string) (*StringRefField, error) {
	f := &StringRefField{key: key, fallback: fallback,
		parse:  func(text string) (*string, bool) { return &text, true },
		format: func(value *string) *string { return value },
	}
	return f, declare(ctx, r, f)
}

// Get returns the value as of the record's last call to Wait or Seal, and the version of the record
// in which the value last changed. Get ignores white space around the text in the database.
func (f *Field[T]) Get() (T, Version) {
	f.record.mu.Lock()
	defer f.record.mu.Unlock()
	return f.value, f.version
}

// HasChanged reports whether the value has changed since the given version.
func (f *Field[T]) HasChanged(since Version) bool {
	_, version := f.Get()
	return version > since
}

// Set writes a value to the first lookup branch. Get returns the new value after the next Wait or
// Seal.
func (f *Field[T]) Set(ctx context.Context, description string, value T) error {
	message := fmt.Sprintf("Unconditionally set %s: %s", f.key, description)
	return f.record.set(ctx, message, f.To(value))
}

// To returns a Setting to pass to Record.SetMultiple.
func (f *Field[T]) To(value T) Setting {
	return Setting{record: f.record, key: f.key, text: f.format(value)}
}

// A Setting is a new value for a field.
type Setting struct {
	record *Record
	key    string
	// text is nil if the key must be removed.
	text *string
}

// A recordField is a Field of any value type.
type recordField interface {
	name() string
	// Callers of these methods must hold the record's lock.
	defaultText() *string
	currentText() *string
	// update parses the text of a key in the database and sets the value. If the text is nil or not a
	// valid value, update sets the default. If this changes the value, update stores the version and
	// returns true.
	update(text *string, version Version) bool
}

func (f *Field[T]) name() string { return f.key }

func (f *Field[T]) defaultText() *string { return f.format(f.fallback) }

func (f *Field[T]) currentText() *string { return f.format(f.value) }

func (f *Field[T]) update(text *string, version Version) bool {
	value := f.fallback
	if text != nil {
		if parsed, ok := f.parse(*text); ok {
			value = parsed
		}
	}
	if sameText(f.format(value), f.format(f.value)) {
		return false
	}
	f.value, f.version = value, version
	return true
}

func sameText(a, b *string) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// declare writes the default of a field, reads the value and adds the field to the record.
func declare[T any](ctx context.Context, r *Record, f *Field[T]) error {
	if err := r.writeDefault(ctx, f.key, f.format(f.fallback)); err != nil {
		return err
	}
	return adopt(ctx, r, f)
}

// adopt reads the value of a field and adds the field to the record.
func adopt[T any](ctx context.Context, r *Record, f *Field[T]) error {
	if err := r.acquire(ctx); err != nil {
		return err
	}
	defer r.release()
	heads, err := r.heads(ctx)
	if err != nil {
		return err
	}
	text, err := r.find(ctx, heads, f.key)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f.record, f.value = r, f.fallback
	f.update(text, r.version)
	f.version = r.version
	r.fields = append(r.fields, f)
	return nil
}
