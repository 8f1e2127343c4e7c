package datakit

import (
	"context"
	"errors"
	"io/fs"
	"strings"
)

// heads returns the heads of the lookup branches. The head is nil for a branch without commits.
func (r *Record) heads(ctx context.Context) ([]*Commit, error) {
	heads := make([]*Commit, len(r.lookup))
	for i, branch := range r.lookup {
		head, err := branch.Head(ctx)
		// Another client may have removed the branch. A removed branch has no keys.
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		heads[i] = head
	}
	return heads, nil
}

// find returns the text of a key in the first commit that contains the key, or nil.
func (r *Record) find(ctx context.Context, heads []*Commit, key string) (*string, error) {
	for _, head := range heads {
		text, err := readKey(ctx, head, join(r.path, key))
		if text != nil || err != nil {
			return text, err
		}
	}
	return nil, nil
}

// readKey returns the text of a file without leading and trailing white space. readKey returns nil
// if there is no such file.
func readKey(ctx context.Context, head *Commit, path string) (*string, error) {
	if head == nil {
		return nil, nil
	}
	content, err := head.Tree().ReadFile(ctx, path)
	if isAbsent(err) || errors.Is(err, ErrNotFile) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	text := string(content)
	return trimmed(&text), nil
}

// trimmed returns a string without leading and trailing white space.
func trimmed(text *string) *string {
	if text == nil {
		return nil
	}
	short := strings.TrimSpace(*text)
	return &short
}

// writeDefault writes the default of a field to the defaults branch unless the branch already
// contains it.
func (r *Record) writeDefault(ctx context.Context, key string, text *string) error {
	path := join(r.path, key)
	if err := checkEntry("field", path); err != nil {
		return err
	}
	head, err := r.defaults.Head(ctx)
	if err != nil {
		return err
	}
	present, err := readKey(ctx, head, path)
	if err != nil {
		return err
	}
	if sameText(present, trimmed(text)) {
		return nil
	}
	return r.write(ctx, r.defaults, "fill-in default for "+key, []Setting{{record: r, key: key, text: text}})
}

// write writes values in one commit. If another client changes the same keys at the same time,
// write tries again, so the last writer wins.
func (r *Record) write(ctx context.Context, branch *Branch, message string, settings []Setting) error {
	for try := 1; ; try++ {
		err := branch.Update(ctx, func(tx *Transaction) error {
			for _, setting := range settings {
				if err := r.writeKey(ctx, tx, setting); err != nil {
					return err
				}
			}
			_, err := tx.CommitWith(ctx, message, CommitOptions{IfChanged: true})
			return err
		})
		if !errors.Is(err, ErrConflict) || try == writeTries {
			return err
		}
	}
}

func (r *Record) writeKey(ctx context.Context, tx *Transaction, setting Setting) error {
	path := join(r.path, setting.key)
	if setting.text != nil {
		return tx.Write(ctx, path, []byte(*setting.text))
	}
	err := tx.Remove(ctx, path)
	if isAbsent(err) {
		return nil
	}
	return err
}
