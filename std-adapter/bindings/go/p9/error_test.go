package p9

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"
)

func TestErrorRepliesAreRecognized(t *testing.T) {
	for _, c := range []struct {
		errno uint32
		text  string
		want  error
	}{
		{0, "No such file or directory", fs.ErrNotExist},
		{0, "file not found", fs.ErrNotExist},
		{0, "Already exists", fs.ErrExist},
		{0, "File exists", fs.ErrExist},
		{0, "Is a directory", ErrIsDir},
		{0, "Is not a directory", ErrNotDir},
		{0, "Can't walk from a file", ErrNotDir},
		{0, "Permission denied", fs.ErrPermission},
		{0, "Read-only file", ErrReadOnly},
		{2, "", fs.ErrNotExist},
		{20, "the text does not matter", ErrNotDir},
		{95, "", ErrUnsupported},
	} {
		err := fmt.Errorf("wrapped: %w", newError(c.errno, c.text))
		if !errors.Is(err, c.want) {
			t.Errorf("%d %q is not %v", c.errno, c.text, c.want)
		}
		for _, other := range []error{fs.ErrNotExist, fs.ErrExist, ErrIsDir, ErrNotDir, fs.ErrPermission, ErrReadOnly, ErrUnsupported} {
			if other != c.want && errors.Is(err, other) {
				t.Errorf("%d %q is %v", c.errno, c.text, other)
			}
		}
	}
	for _, err := range []*Error{newError(0, "anything else"), newError(77, ""), newError(5, "")} {
		if err.Text == "" || errors.Is(err, fs.ErrNotExist) || errors.Is(err, nil) {
			t.Errorf("%+v", err)
		}
	}
}
