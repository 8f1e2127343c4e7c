package datakit_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"reflect"
	"sort"
	"strings"
	"testing"
	"time"

	datakit "github.com/datakit-rs/datakit/std-adapter/bindings/go"
	"github.com/datakit-rs/datakit/std-adapter/bindings/go/internal/testserver"
	"github.com/datakit-rs/datakit/std-adapter/bindings/go/p9"
)

// A conformanceCase is a test case in the conformance table, which is described in ../README.md.
type conformanceCase struct {
	Name  string
	Needs []string
	Steps []map[string]any
}

var kinds = map[string]error{
	"already_exists":    fs.ErrExist,
	"does_not_exist":    fs.ErrNotExist,
	"is_dir":            datakit.ErrIsDir,
	"not_dir":           datakit.ErrNotDir,
	"not_file":          datakit.ErrNotFile,
	"not_symlink":       datakit.ErrNotSymlink,
	"conflict":          datakit.ErrConflict,
	"open_conflicts":    datakit.ErrOpenConflicts,
	"not_fast_forward":  datakit.ErrNotFastForward,
	"invalid_hash":      datakit.ErrInvalidHash,
	"invalid_branch":    datakit.ErrInvalidBranch,
	"invalid_path":      datakit.ErrInvalidPath,
	"transaction_ended": datakit.ErrTransactionEnded,
}

func TestConformance(t *testing.T) {
	text, err := os.ReadFile("../conformance.json")
	if err != nil {
		t.Fatal(err)
	}
	var table struct {
		Version int
		Cases   []conformanceCase
	}
	if err := json.Unmarshal(text, &table); err != nil {
		t.Fatal(err)
	}
	if table.Version != 1 || len(table.Cases) == 0 {
		t.Fatalf("the table has the version %d and %d cases", table.Version, len(table.Cases))
	}
	// 9P2000.L also supports error_texts, because the client reads the error texts from the command
	// files.
	lacks := map[p9.Dialect]string{p9.Dialect0: "symlinks"}
	for _, dialect := range []p9.Dialect{p9.DialectU, p9.DialectL, p9.Dialect0} {
		dialect := dialect
		t.Run(string(dialect), func(t *testing.T) {
			for _, c := range table.Cases {
				c := c
				t.Run(c.Name, func(t *testing.T) {
					for _, need := range c.Needs {
						if need == lacks[dialect] {
							t.Skipf("%s has no %s", dialect, need)
						}
					}
					runCase(t, dialect, c)
				})
			}
		})
	}
}

func runCase(t *testing.T, dialect p9.Dialect, c conformanceCase) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	address := testserver.Start(t)
	files, err := p9.Dial(ctx, "tcp", address, p9.Options{Dialects: []p9.Dialect{dialect}})
	if err != nil {
		t.Fatal(err)
	}
	client := datakit.NewClient(files)
	defer client.Close()
	r := &runner{
		ctx: ctx, client: client, bound: map[string]any{},
		transactions: map[string]*datakit.Transaction{}, merges: map[string]*datakit.Merge{},
		heads: map[string]*datakit.Watch[*datakit.Commit]{}, paths: map[string]*datakit.Watch[*datakit.Value]{},
	}
	for i, step := range c.Steps {
		r.step = r.substitute(step).(map[string]any)
		r.used = map[string]bool{"op": true, "expect": true, "error": true, "bind": true, "as": true, "shell": true, "shell_reason": true}
		result, err := r.run(r.text("op"))
		for key := range r.step {
			// An operation that fails may not have read all of its arguments.
			if !r.used[key] && err == nil {
				t.Fatalf("step %d %v: nothing uses the key %s", i+1, step, key)
			}
		}
		if kind, ok := r.step["error"]; ok {
			if want := kinds[kind.(string)]; want == nil || !errors.Is(err, want) {
				t.Fatalf("step %d %v: the error is %v, not %v", i+1, step, err, kind)
			}
			continue
		}
		if err != nil {
			t.Fatalf("step %d %v: %v", i+1, step, err)
		}
		result = plain(t, result)
		if want, ok := r.step["expect"]; ok && !reflect.DeepEqual(result, plain(t, contents(want))) {
			t.Fatalf("step %d %v: the result is %v", i+1, step, result)
		}
		if name, ok := r.step["bind"]; ok {
			r.bound[name.(string)] = result
		}
	}
	for _, tx := range r.transactions {
		tx.Abort()
	}
	for _, w := range r.heads {
		w.Close()
	}
	for _, w := range r.paths {
		w.Close()
	}
	noLeaks(t, files)
}

// noLeaks waits until no fids or requests are in use.
func noLeaks(t *testing.T, files *p9.Client) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); files.FidsInUse() > 0 || files.RequestsInFlight() > 0; {
		if time.Now().After(end) {
			t.Fatalf("%d fids and %d requests are still in use", files.FidsInUse(), files.RequestsInFlight())
		}
		time.Sleep(time.Millisecond)
	}
}

// A runner executes the steps of a test case.
type runner struct {
	ctx          context.Context
	client       *datakit.Client
	step         map[string]any
	used         map[string]bool
	bound        map[string]any
	transactions map[string]*datakit.Transaction
	merges       map[string]*datakit.Merge
	heads        map[string]*datakit.Watch[*datakit.Commit]
	paths        map[string]*datakit.Watch[*datakit.Value]
}

// substitute replaces $NAME with the result that was bound to NAME.
func (r *runner) substitute(value any) any {
	switch value := value.(type) {
	case string:
		if strings.HasPrefix(value, "$") {
			return r.bound[value[1:]]
		}
	case []any:
		list := make([]any, len(value))
		for i, item := range value {
			list[i] = r.substitute(item)
		}
		return list
	case map[string]any:
		object := map[string]any{}
		for key, item := range value {
			object[key] = r.substitute(item)
		}
		return object
	}
	return value
}

// contents replaces {"base64": TEXT} and {"repeat": TEXT, "times": N} by the content that they
// describe.
func contents(value any) any {
	object, ok := value.(map[string]any)
	if !ok {
		return value
	}
	if text, ok := object["base64"]; ok {
		decoded, err := base64.StdEncoding.DecodeString(text.(string))
		if err != nil {
			panic(err)
		}
		return string(decoded)
	}
	if text, ok := object["repeat"]; ok {
		return strings.Repeat(text.(string), int(object["times"].(float64)))
	}
	replaced := map[string]any{}
	for key, item := range object {
		replaced[key] = contents(item)
	}
	return replaced
}

// plain converts a value to the types that encoding/json decodes. It leaves bytes that are not
// valid UTF-8 unchanged.
func plain(t *testing.T, value any) any {
	switch value := value.(type) {
	case []string:
		list := make([]any, len(value))
		for i, item := range value {
			list[i] = item
		}
		return list
	case []byte:
		return string(value)
	case int:
		return float64(value)
	case int64:
		return float64(value)
	case datakit.Hash:
		return string(value)
	case map[string]any:
		object := map[string]any{}
		for key, item := range value {
			object[key] = plain(t, item)
		}
		return object
	case *datakit.Commit:
		if value == nil {
			return nil
		}
		return string(value.Hash())
	}
	return value
}

func (r *runner) text(key string) string {
	r.used[key] = true
	text, _ := r.step[key].(string)
	return text
}

func (r *runner) flag(key string) bool {
	r.used[key] = true
	flag, _ := r.step[key].(bool)
	return flag
}

func (r *runner) number(key string) int {
	r.used[key] = true
	number, _ := r.step[key].(float64)
	return int(number)
}

func (r *runner) content(key string) []byte {
	r.used[key] = true
	return []byte(contents(r.step[key]).(string))
}

func (r *runner) list(key string) []any {
	r.used[key] = true
	list, _ := r.step[key].([]any)
	return list
}

// tx returns the transaction of a step.
func (r *runner) tx() *datakit.Transaction { return r.transactions[r.text("transaction")] }

// tree returns the tree of a step.
func (r *runner) tree() (*datakit.Tree, error) {
	if id := r.text("tree"); id != "" {
		return r.client.Tree(id), nil
	}
	if name := r.text("transaction"); name != "" {
		switch r.text("side") {
		case "ours":
			return r.merges[name].Ours, nil
		case "theirs":
			return r.merges[name].Theirs, nil
		case "base":
			return r.merges[name].Base, nil
		}
		return r.transactions[name].Tree(), nil
	}
	commit, err := r.client.Commit(r.ctx, r.text("commit"))
	if err != nil {
		return nil, err
	}
	return commit.Tree(), nil
}

func hashes(commits []*datakit.Commit) []string {
	list := make([]string, len(commits))
	for i, commit := range commits {
		list[i] = commit.String()
	}
	return list
}

func changes(list []datakit.Change) []string {
	lines := make([]string, len(list))
	for i, change := range list {
		lines[i] = change.String()
	}
	sort.Strings(lines)
	return lines
}
