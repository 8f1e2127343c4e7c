package datakit_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	datakit "github.com/datakit-rs/datakit/std-adapter/bindings/go"
)

// run executes the operation of a step.
func (r *runner) run(op string) (any, error) {
	switch op {
	case "branches":
		return r.client.Branches(r.ctx)
	case "remove_branch":
		return nil, r.client.RemoveBranch(r.ctx, r.text("branch"))
	case "branch", "head", "fast_forward", "commit_files", "merge_branch", "begin", "watch_head", "watch_path":
		branch, err := r.client.Branch(r.ctx, r.text("branch"))
		if err != nil {
			return nil, err
		}
		return r.onBranch(op, branch)
	case "commit":
		return r.client.Commit(r.ctx, r.text("hash"))
	case "message", "parents":
		commit, err := r.client.Commit(r.ctx, r.text("commit"))
		if err != nil {
			return nil, err
		}
		if op == "message" {
			return commit.Message(r.ctx)
		}
		parents, err := commit.Parents(r.ctx)
		return hashes(parents), err
	case "diff":
		return r.diff()
	case "read", "read_file", "read_dir", "count_dir", "read_link", "stat", "exists", "exists_file", "exists_dir":
		tree, err := r.tree()
		if err != nil {
			return nil, err
		}
		return r.onTree(op, tree, r.text("path"))
	case "next", "close_watch":
		return r.onWatch(op, r.text("watch"))
	}
	return r.onTransaction(op, r.tx())
}

func (r *runner) onBranch(op string, branch *datakit.Branch) (result any, err error) {
	switch op {
	case "head":
		head, err := branch.Head(r.ctx)
		return head, err
	case "fast_forward":
		commit, err := r.client.CommitUnchecked(r.text("commit"))
		if err != nil {
			return nil, err
		}
		return nil, branch.FastForward(r.ctx, commit)
	case "commit_files":
		return r.commitFiles(branch)
	case "merge_branch":
		return r.mergeBranch(branch)
	case "begin":
		r.transactions[r.text("as")], err = branch.Begin(r.ctx)
	case "watch_head":
		r.heads[r.text("as")], err = branch.WatchHead(r.ctx)
	case "watch_path":
		r.paths[r.text("as")], err = branch.WatchPath(r.ctx, r.text("path"))
	}
	return nil, err
}

func (r *runner) commitFiles(branch *datakit.Branch) (head *datakit.Commit, err error) {
	message, remove, files := r.text("message"), r.list("remove"), r.list("files")
	err = branch.Update(r.ctx, func(tx *datakit.Transaction) error {
		for _, name := range remove {
			if err := tx.Remove(r.ctx, name.(string)); err != nil {
				return err
			}
		}
		for _, item := range files {
			file := item.(map[string]any)
			name := file["path"].(string)
			executable, _ := file["executable"].(bool)
			if dir := path.Dir(name); dir != "." {
				if err := tx.MakeDirs(r.ctx, dir); err != nil {
					return err
				}
			}
			content := []byte(contents(file["content"]).(string))
			if err := tx.CreateFile(r.ctx, name, content, executable); err != nil {
				return err
			}
		}
		var err error
		head, err = tx.Commit(r.ctx, message)
		return err
	})
	return head, err
}

func (r *runner) mergeBranch(branch *datakit.Branch) (head *datakit.Commit, err error) {
	commit, err := r.client.Commit(r.ctx, r.text("commit"))
	if err != nil {
		return nil, err
	}
	message := r.text("message")
	err = branch.Update(r.ctx, func(tx *datakit.Transaction) error {
		if _, err := tx.Merge(r.ctx, commit); err != nil {
			return err
		}
		var err error
		head, err = tx.Commit(r.ctx, message)
		return err
	})
	return head, err
}

func (r *runner) diff() (any, error) {
	old, err := r.client.Commit(r.ctx, r.text("old"))
	if err != nil {
		return nil, err
	}
	if tx := r.tx(); tx != nil {
		list, err := tx.Diff(r.ctx, old)
		return changes(list), err
	}
	commit, err := r.client.Commit(r.ctx, r.text("new"))
	if err != nil {
		return nil, err
	}
	list, err := commit.Diff(r.ctx, old)
	return changes(list), err
}

func (r *runner) onTree(op string, tree *datakit.Tree, path string) (any, error) {
	switch op {
	case "read":
		content, err := tree.Read(r.ctx, path)
		if err != nil {
			return nil, err
		}
		switch content.Kind {
		case datakit.KindDir:
			return map[string]any{"dir": content.Dir}, nil
		case datakit.KindLink:
			return map[string]any{"link": content.Link}, nil
		}
		return map[string]any{"file": content.File}, nil
	case "read_file":
		return tree.ReadFile(r.ctx, path)
	case "read_dir":
		return tree.ReadDir(r.ctx, path)
	case "count_dir":
		names, err := tree.ReadDir(r.ctx, path)
		return len(names), err
	case "read_link":
		return tree.ReadLink(r.ctx, path)
	case "stat":
		s, err := tree.Stat(r.ctx, path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, datakit.ErrNotDir) {
			return nil, nil
		}
		return map[string]any{"kind": s.Kind.String(), "size": s.Size}, err
	case "exists":
		return tree.Exists(r.ctx, path)
	case "exists_file":
		return tree.ExistsFile(r.ctx, path)
	}
	return tree.ExistsDir(r.ctx, path)
}

func (r *runner) onTransaction(op string, tx *datakit.Transaction) (any, error) {
	ctx := r.ctx
	if tx == nil {
		return nil, fmt.Errorf("no transaction %q for the operation %s", r.text("transaction"), op)
	}
	switch op {
	case "end_commit":
		return tx.Commit(ctx, r.text("message"))
	case "abort":
		tx.Abort()
		return nil, nil
	case "create_dir":
		return nil, tx.CreateDir(ctx, r.text("path"))
	case "make_dirs":
		return nil, tx.MakeDirs(ctx, r.text("path"))
	case "create_file":
		return nil, tx.CreateFile(ctx, r.text("path"), r.content("content"), r.flag("executable"))
	case "create_files":
		prefix, count, content := r.text("prefix"), r.number("count"), r.content("content")
		for i := 0; i < count; i++ {
			if err := tx.CreateFile(ctx, fmt.Sprint(prefix, i), content, false); err != nil {
				return nil, err
			}
		}
		return nil, nil
	case "create_symlink":
		return nil, tx.CreateSymlink(ctx, r.text("path"), r.text("target"))
	case "replace_file":
		return nil, tx.ReplaceFile(ctx, r.text("path"), r.content("content"))
	case "create_or_replace_file":
		return nil, tx.CreateOrReplaceFile(ctx, r.text("path"), r.content("content"))
	case "set_executable":
		return nil, tx.SetExecutable(ctx, r.text("path"), r.flag("executable"))
	case "truncate":
		return nil, tx.Truncate(ctx, r.text("path"), uint64(r.number("length")))
	case "remove":
		return nil, tx.Remove(ctx, r.text("path"))
	case "transaction_parents":
		parents, err := tx.Parents(ctx)
		return hashes(parents), err
	case "conflicts":
		return tx.Conflicts(ctx)
	}
	return r.onCommits(op, tx)
}

// onCommits executes the transaction operations that take commits as arguments. The commits do not
// have to exist on the server.
func (r *runner) onCommits(op string, tx *datakit.Transaction) (any, error) {
	switch op {
	case "set_parents":
		var parents []*datakit.Commit
		for _, hash := range r.list("parents") {
			commit, err := r.client.CommitUnchecked(hash.(string))
			if err != nil {
				return nil, err
			}
			parents = append(parents, commit)
		}
		return nil, tx.SetParents(r.ctx, parents)
	case "merge":
		commit, err := r.client.CommitUnchecked(r.text("commit"))
		if err != nil {
			return nil, err
		}
		merge, err := tx.Merge(r.ctx, commit)
		if err != nil {
			return nil, err
		}
		r.merges[r.text("transaction")] = merge
		return merge.Conflicts, nil
	}
	return nil, fmt.Errorf("unknown operation %q", op)
}

func (r *runner) onWatch(op, name string) (any, error) {
	ctx, cancel := context.WithTimeout(r.ctx, 20*time.Second)
	defer cancel()
	if heads := r.heads[name]; heads != nil {
		if op == "close_watch" {
			heads.Close()
			return nil, nil
		}
		return heads.Next(ctx)
	}
	paths := r.paths[name]
	if op == "close_watch" {
		paths.Close()
		return nil, nil
	}
	value, err := paths.Next(ctx)
	if value == nil || err != nil {
		return nil, err
	}
	if value.Kind != datakit.KindDir {
		return map[string]any{value.Kind.String(): value.Content}, nil
	}
	names, err := value.Tree.ReadDir(ctx, "")
	return map[string]any{"dir": names}, err
}
