package datakit

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"
	"testing"

	"github.com/datakit-rs/datakit/std-adapter/bindings/go/p9"
)

func TestBranchNamesFollowTheRulesOfGit(t *testing.T) {
	for _, name := range []string{
		"master", "topic/one", "a", "50%2F", "é+#@", "x@", "@", "a.b", "a-", "{", "a{b}", "a'b\"", "refs/heads/x", "a/b/c/d",
		"", "-", "-x", "HEAD", "a b", "a\tb", "a\x7fb", "x..y", "x.", ".x", "a/.x", "x.lock", "a.lock/b", "/x", "x/", "a//b",
		"a~", "a^", "a:b", "a?", "a*", "a[", `a\b`, "a@{b", "@{", "@{-1}", "..", "a\nb",
	} {
		got := checkBranch(name)
		// For a name such as @{-1}, git prints the name of a different branch.
		output, err := exec.Command("git", "check-ref-format", "--branch", name).Output()
		valid := err == nil && strings.TrimSuffix(string(output), "\n") == name
		if (got == nil) != valid {
			t.Errorf("%q: %v, but git says valid = %v", name, got, valid)
		}
		if got != nil && !errors.Is(got, ErrInvalidBranch) {
			t.Errorf("%q: %v is not ErrInvalidBranch", name, got)
		}
	}
	if checkBranch(strings.Repeat("x", maxComponent)) != nil || checkBranch(strings.Repeat("x", maxComponent+1)) == nil {
		t.Error("the maximum length of a component is wrong")
	}
}

func TestBranchNamesAreEscaped(t *testing.T) {
	for name, want := range map[string]string{"a/b": "a%2Fb", "50%2F": "50%252F", "plain": "plain"} {
		got := escaper.Replace(name)
		if got != want || unescaper.Replace(got) != name {
			t.Errorf("%q becomes %q and then %q", name, got, unescaper.Replace(got))
		}
	}
}

func TestHashesAreChecked(t *testing.T) {
	const hash = "ce013625030ba8dba906f756967f9e9ca394464a"
	if got, err := ParseHash(hash + "\n"); err != nil || string(got) != hash {
		t.Errorf("%q, %v", got, err)
	}
	for _, text := range []string{"", "ce0136", hash + "0", strings.ToUpper(hash), strings.Replace(hash, "c", "é", 1)} {
		if _, err := ParseHash(text); !errors.Is(err, ErrInvalidHash) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// The original DataKit server does not send error numbers.
func TestErrorsOfTheDatabaseAreRecognized(t *testing.T) {
	for text, want := range map[string]error{
		"Merge conflict: x: changed":            ErrConflict,
		"conflicts file is not empty":           ErrOpenConflicts,
		"not-fast-forward":                      ErrNotFastForward,
		`invalid-hash "x": too short`:           ErrInvalidHash,
		`invalid branch name "a b": it has ' '`: ErrInvalidBranch,
		`"x" is not a directory`:                ErrNotDir,
	} {
		reply := &fs.PathError{Op: "write", Path: "on/the/server", Err: &p9.Error{Text: text}}
		err := failed("commit", "master", reply)
		if !errors.Is(err, want) || err.Error() != "commit master: "+text {
			t.Errorf("%q becomes %v", text, err)
		}
	}
	if err := failed("commit", "master", fmt.Errorf("other")); errors.Is(err, ErrConflict) {
		t.Error(err)
	}
}

func TestWatchFileReturnsThePathOfTheStream(t *testing.T) {
	for path, want := range map[string]string{
		"":    "watch/tree.live",
		"a":   "watch/a.node/tree.live",
		"a/b": "watch/a.node/b.node/tree.live",
	} {
		if got := watchFile(path); got != want {
			t.Errorf("%q is watched in %q", path, got)
		}
	}
}
