package datakit

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"time"
)

// A Commit is a commit of the database. A commit never changes.
type Commit struct {
	client *Client
	hash   Hash
}

// Hash returns the hash.
func (c *Commit) Hash() Hash { return c.hash }

// String returns the hash.
func (c *Commit) String() string { return string(c.hash) }

func (c *Commit) path(name string) string {
	return "snapshots/" + string(c.hash) + "/" + name
}

// Tree returns the tree of the commit. It sends no request.
func (c *Commit) Tree() *Tree {
	return &Tree{client: c.client, root: c.path("ro")}
}

// Message returns the message without the newline that the server adds.
func (c *Commit) Message(ctx context.Context) (string, error) {
	text, err := c.client.readText(ctx, c.path("msg"))
	return strings.TrimSuffix(text, "\n"), failed("message of", c.String(), err)
}

// Parents returns the parents in the order in which the commit stores them.
func (c *Commit) Parents(ctx context.Context) ([]*Commit, error) {
	text, err := c.client.readText(ctx, c.path("parents"))
	if err != nil {
		return nil, failed("parents of", c.String(), err)
	}
	return c.client.parseCommits(text)
}

// Diff returns the changes from another commit to this commit, sorted by path.
func (c *Commit) Diff(ctx context.Context, old *Commit) ([]Change, error) {
	text, err := c.client.files.ReadFile(ctx, c.path("diff/"+string(old.hash)))
	if err != nil {
		return nil, failed("diff of", c.String(), err)
	}
	return parseChanges(string(text))
}

// Details contains the fields of a commit.
type Details struct {
	// Author has the form NAME <EMAIL>.
	Author string
	// Date is the author date. Date is the zero time if the server sends no valid date.
	Date time.Time
	// Message is the unmodified message.
	Message string
	// Parents lists the parents in the order in which the commit stores them.
	Parents []*Commit
}

// Details reads all fields of the commit from one file. The original DataKit server sends only some
// of the fields.
func (c *Commit) Details(ctx context.Context) (*Details, error) {
	text, err := c.client.files.ReadFileLimit(ctx, "commits/"+string(c.hash), maxText)
	if err != nil {
		return nil, failed("details of", c.String(), err)
	}
	var fields struct {
		Author, Date, Message string
		Parents               []string
	}
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, failed("details of", c.String(), err)
	}
	parents, err := c.client.parseCommits(strings.Join(fields.Parents, "\n"))
	if err != nil {
		return nil, err
	}
	date, _ := time.Parse(time.RFC3339, fields.Date)
	return &Details{Author: fields.Author, Date: date, Message: fields.Message, Parents: parents}, nil
}

// A ChangeKind tells whether a file was added, removed or updated between two trees.
type ChangeKind byte

// The kinds of changes. The values are the characters that the server uses in a diff.
const (
	Added   ChangeKind = '+'
	Removed ChangeKind = '-'
	// Updated means that the content or mode differs.
	Updated ChangeKind = '*'
)

// A Change is a file that differs between two trees. Directories are not listed.
type Change struct {
	Kind ChangeKind
	Path string
}

// String returns the kind and the path, for example "+ etc/motd".
func (c Change) String() string { return fmt.Sprintf("%c %s", c.Kind, c.Path) }

func parseChanges(text string) ([]Change, error) {
	changes := []Change{}
	for _, line := range lines(text) {
		if len(line) < 3 || strings.IndexByte("+-*", line[0]) < 0 || line[1] != ' ' {
			return nil, fmt.Errorf("datakit: the server sent the invalid line %q in a diff", line)
		}
		changes = append(changes, Change{Kind: ChangeKind(line[0]), Path: line[2:]})
	}
	sort.Slice(changes, func(i, j int) bool { return changes[i].Path < changes[j].Path })
	return changes, nil
}
