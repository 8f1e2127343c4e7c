package datakit

import (
	"context"
	"sort"
	"strconv"
	"strings"

	"github.com/datakit-rs/datakit/std-adapter/bindings/go/p9"
)

// maxText is the maximum size in bytes of text that is read as a whole, such as a message or a
// list.
const maxText = 1 << 24

// A Client provides access to a server's database.
type Client struct {
	files *p9.Client
}

// Dial connects to a server. For example, the network can be "tcp" and the address
// "localhost:5640". The context applies only to connecting: once connected, the connection stays
// open even if the context expires.
func Dial(ctx context.Context, network, address string) (*Client, error) {
	files, err := p9.Dial(ctx, network, address, p9.Options{})
	if err != nil {
		return nil, err
	}
	return NewClient(files), nil
}

// NewClient returns a client for the database at the root of a 9P connection. In 9P2000, symbolic
// links cannot be created.
func NewClient(files *p9.Client) *Client {
	return &Client{files: files}
}

// Files returns the 9P client, which accesses the server's files directly.
func (c *Client) Files() *p9.Client { return c.files }

// Close closes the connection. Closing the connection ends all transactions and watches.
func (c *Client) Close() error { return c.files.Close() }

// Branches returns the sorted names of all branches that have commits and of all branches that this
// connection has created.
func (c *Client) Branches(ctx context.Context) ([]string, error) {
	entries, err := c.files.ReadDir(ctx, "branch")
	if err != nil {
		return nil, failed("list", "branches", err)
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = unescaper.Replace(entry.Name())
	}
	sort.Strings(names)
	return names, nil
}

// Branch returns a branch. If the branch does not exist, the server creates it for this connection.
// Other clients see it once it has a commit.
func (c *Client) Branch(ctx context.Context, name string) (*Branch, error) {
	if err := checkBranch(name); err != nil {
		return nil, err
	}
	b := newBranch(c, name)
	// Creating a branch that already exists is not an error.
	if err := c.files.Mkdir(ctx, b.dir, 0o755); err != nil {
		return nil, failed("branch", name, err)
	}
	return b, nil
}

// RemoveBranch removes a branch.
func (c *Client) RemoveBranch(ctx context.Context, name string) error {
	if err := checkBranch(name); err != nil {
		return err
	}
	return newBranch(c, name).Remove(ctx)
}

// Commit returns the commit with the given hash. Commit fails with fs.ErrNotExist if there is no
// such commit.
func (c *Client) Commit(ctx context.Context, hash string) (*Commit, error) {
	id, err := ParseHash(hash)
	if err != nil {
		return nil, err
	}
	if _, err := c.readText(ctx, "commits/"+string(id)); err != nil {
		return nil, failed("commit", hash, err)
	}
	return &Commit{client: c, hash: id}, nil
}

// CommitUnchecked returns the commit with the given hash. CommitUnchecked does not check whether
// the commit exists.
func (c *Client) CommitUnchecked(hash string) (*Commit, error) {
	return c.parseCommit(hash)
}

// Tree returns the tree with the given id. The id of a directory is "D-" followed by the hash of a
// Git tree. The id of a file, an executable file or a symbolic link is "F-", "X-" or "L-" followed
// by the hash of a Git blob. In that case, the root of the returned tree is the file or link
// itself. Tree sends no request. If the id does not exist, the methods that read the tree fail. If
// the string is not an id, these methods fail with ErrInvalidHash.
func (c *Client) Tree(id string) *Tree {
	t := &Tree{client: c, root: "trees/" + id}
	if len(id) < 2 || strings.IndexByte("DFXL", id[0]) < 0 || id[1] != '-' {
		t.err = invalid("tree", strconv.Quote(id), "an id begins with D-, F-, X- or L-", ErrInvalidHash)
	} else if _, err := ParseHash(id[2:]); err != nil {
		t.err = err
	}
	return t
}

// Fetch makes the server fetch a branch of another repository and returns the head of that branch.
// Fetch changes no branch of this database. The server protects the commit from garbage collection
// only until Fetch returns, so point a branch to the commit soon, for example with FastForward.
// Fetch fails with ErrInvalidBranch if the name of the branch is not valid. If the server cannot
// fetch the branch, the error contains Git's reason.
func (c *Client) Fetch(ctx context.Context, url, branch string) (*Commit, error) {
	// The server ignores an empty command, so head would never contain a hash.
	if err := checkBranch(branch); err != nil {
		return nil, err
	}
	dir := "remotes/" + uniqueName()
	// If the next request is cancelled, the server may already have created the directory. The
	// original DataKit server cannot remove it, so the error from Remove is ignored.
	defer inBackground(func(ctx context.Context) { _ = c.files.Remove(ctx, dir) })
	if err := c.files.Mkdir(ctx, dir, 0o755); err != nil {
		return nil, failed("fetch", url, err)
	}
	err := c.files.WriteFile(ctx, dir+"/url", []byte(url))
	if err == nil {
		err = c.explainedCommand(ctx, dir+"/fetch", branch)
	}
	var head string
	if err == nil {
		head, err = c.readText(ctx, dir+"/head")
	}
	if err != nil {
		return nil, failed("fetch", url, err)
	}
	return c.parseCommit(head)
}

// readText reads a file of at most maxText bytes.
func (c *Client) readText(ctx context.Context, path string) (string, error) {
	text, err := c.files.ReadFileLimit(ctx, path, maxText)
	return string(text), err
}

// parseCommit parses a hash that the server sent.
func (c *Client) parseCommit(line string) (*Commit, error) {
	hash, err := ParseHash(line)
	if err != nil {
		return nil, err
	}
	return &Commit{client: c, hash: hash}, nil
}

// parseHead parses a hash. It returns nil for a blank line, which means that there is no commit.
func (c *Client) parseHead(line string) (*Commit, error) {
	if strings.TrimSpace(line) == "" {
		return nil, nil
	}
	return c.parseCommit(line)
}

// parseCommits parses lines that each contain one hash.
func (c *Client) parseCommits(text string) ([]*Commit, error) {
	commits := []*Commit{}
	for _, line := range lines(text) {
		commit, err := c.parseCommit(line)
		if err != nil {
			return nil, err
		}
		commits = append(commits, commit)
	}
	return commits, nil
}

// lines returns the non-empty lines of a string.
func lines(text string) []string {
	var all []string
	for _, line := range strings.Split(text, "\n") {
		if line != "" {
			all = append(all, line)
		}
	}
	return all
}
