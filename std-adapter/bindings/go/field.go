package datakit

import (
	"context"
	"fmt"
	"strconv"
)

// A Version counts the changes of a record.
type Version int

// A Field is a value of a record. Any number of goroutines may use it.
type Field[T any] struct {
	record *Record
	key    string
	// parse returns false if the text is not a value.
	parse func(text string) (T, bool)
	// format returns nil for a value that stands for an absent key.
	format func(value T) *string
	// The record's lock protects the rest.
	fallback T
	value    T
	version  Version
}

// The types of the fields.
type (
	// A StringField has a text.
	StringField = Field[string]
	// An IntField has a whole number.
	IntField = Field[int]
	// A BoolField has a truth value.
	BoolField = Field[bool]
	// A StringRefField has a text or is absent, which is nil.
	StringRefField = Field[*string]
)

// StringField declares a field and writes its default to the defaults branch. The key may contain
// slashes.
func (r *Record) StringField(ctx context.Context, key, fallback string) (*StringField, error) {
	f := &StringField{key: key, fallback: fallback,
		parse:  func(text string) (string, bool) { return text, true },
		format: func(value string) *string { return &value },
	}
	return f, declare(ctx, r, f)
}

// IntField declares a field. It has the default if the text is not a number.
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

// BoolField declares a field. It has the default if the text is neither true nor false.
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

// StringRefField declares a field that may be absent. If the default is nil, the key is removed
// from the defaults branch.
func (r *Record) StringRefField(ctx context.Context, key string, fallback *string) (*StringRefField, error) {
	f := &StringRefField{key: key, fallback: fallback,
		parse:  func(text string) (*string, bool) { return &text, true },
		format: func(value *string) *string { return value },
	}
	return f, declare(ctx, r, f)
}

// Get returns the value as of the last Wait or Seal of the record, and the version with which the
// value came. White space around the text in the database is not part of it.
func (f *Field[T]) Get() (T, Version) {
	f.record.mu.Lock()
	defer f.record.mu.Unlock()
	return f.value, f.version
}

// HasChanged returns true if the value has changed after a version.
func (f *Field[T]) HasChanged(since Version) bool {
	_, version := f.Get()
	return version > since
}

// Set writes a value to the first lookup branch. Get returns it after the next Wait or Seal.
func (f *Field[T]) Set(ctx context.Context, description string, value T) error {
	message := fmt.Sprintf("Unconditionally set %s: %s", f.key, description)
	return f.record.set(ctx, message, f.To(value))
}

// To returns a setting for Record.SetMultiple.
func (f *Field[T]) To(value T) Setting {
	return Setting{record: f.record, key: f.key, text: f.format(value)}
}

// A Setting is a field with a new value.
type Setting struct {
	record *Record
	key    string
	// text is nil if the key is to be removed.
	text *string
}

// A recordField is a Field of any type.
type recordField interface {
	name() string
	// The caller of the other methods holds the record's lock.
	defaultText() *string
	currentText() *string
	// update sets the value to a text from the database, or to the default if the text is nil. If
	// the value changes, the field gets the version.
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

// declare writes the default of a field, reads its value and adds it to the record.
func declare[T any](ctx context.Context, r *Record, f *Field[T]) error {
	if err := r.writeDefault(ctx, f.key, f.format(f.fallback)); err != nil {
		return err
	}
	return adopt(ctx, r, f)
}

// adopt reads the value of a field and adds it to the record.
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
