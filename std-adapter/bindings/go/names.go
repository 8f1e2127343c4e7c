package datakit

import (
	"fmt"
	"math/rand"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Hash is the id of a commit: 40 lower-case hexadecimal digits.
type Hash string

// ParseHash parses a hash. ParseHash ignores white space around the hash.
func ParseHash(text string) (Hash, error) {
	hash := strings.TrimSpace(text)
	if len(hash) != 40 {
		reason := fmt.Sprintf("a hash has 40 hex digits, not %d bytes", len(hash))
		return "", invalid("parse hash", strconv.Quote(hash), reason, ErrInvalidHash)
	}
	for _, c := range hash {
		if !strings.ContainsRune("0123456789abcdef", c) {
			reason := fmt.Sprintf("%q is not one of the digits 0-9 and a-f", c)
			return "", invalid("parse hash", strconv.Quote(hash), reason, ErrInvalidHash)
		}
	}
	return Hash(hash), nil
}

// checkPath returns an error if a path in a tree is not valid.
func checkPath(op, path string) error {
	if path == "" {
		return nil
	}
	for _, name := range strings.Split(path, "/") {
		reason := ""
		switch {
		case name == "":
			reason = "a path has names separated by single slashes, for example etc/hosts"
		case name == "." || name == "..":
			reason = "the names . and .. are not allowed"
		case strings.ContainsRune(name, 0):
			reason = "a name must not contain a NUL byte"
		}
		if reason != "" {
			return invalid(op, strconv.Quote(path), reason, ErrInvalidPath)
		}
	}
	return nil
}

// checkEntry returns an error if a path is not valid or is the root.
func checkEntry(op, path string) error {
	if path == "" {
		return invalid(op, `""`, "the operation does not accept the root", ErrInvalidPath)
	}
	return checkPath(op, path)
}

// maxComponent is the maximum length, in bytes, of a branch name component. The component must
// still be a valid file name once .lock has been appended.
const maxComponent = 250

// checkBranch returns an error if a name violates a rule of git check-ref-format --branch.
func checkBranch(name string) error {
	if reason := brokenRule(name); reason != "" {
		return invalid("branch", strconv.Quote(name), reason, ErrInvalidBranch)
	}
	return nil
}

func brokenRule(name string) string {
	switch {
	case name == "":
		return "it is empty"
	case name[0] == '-':
		return "it starts with a dash, like an option"
	case name == "HEAD":
		return "HEAD stands for the commit that is checked out"
	case strings.Contains(name, ".."):
		return `it contains ".."`
	case strings.Contains(name, "@{"):
		return `it contains "@{"`
	case strings.HasSuffix(name, "."):
		return "it ends with a dot"
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c == 127 || strings.IndexByte(`~^:?*[\`, c) >= 0 {
			return fmt.Sprintf("it contains %q", c)
		}
	}
	for _, part := range strings.Split(name, "/") {
		switch {
		case part == "":
			return "it starts or ends with a slash, or has two in a row"
		case part[0] == '.':
			return "a component starts with a dot"
		case strings.HasSuffix(part, ".lock"):
			return "a component ends with .lock"
		case len(part) > maxComponent:
			return fmt.Sprintf("a component is longer than %d bytes", maxComponent)
		}
	}
	return ""
}

var (
	escaper   = strings.NewReplacer("%", "%25", "/", "%2F")
	unescaper = strings.NewReplacer("%2F", "/", "%2f", "/", "%25", "%")
)

var (
	randomLock sync.Mutex
	random     = rand.New(rand.NewSource(time.Now().UnixNano()))
)

// uniqueName returns a random 63-bit number to be used as the name of a transaction or a remote.
// Two calls practically never return the same name.
func uniqueName() string {
	randomLock.Lock()
	defer randomLock.Unlock()
	return strconv.FormatInt(random.Int63(), 10)
}
