use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::Fault;
use crate::model::commit::Commit;
use crate::model::test_trees::{
    APART, CLASHING, Files, deep, edited, files, files_of, objects, some_files, stored, write_tree,
};
use crate::model::tree::MAX_DEPTH;
use crate::model::tree_entry::TreeEntry;
use crate::model::tree_text::encode_tree;

fn merged(
    base: &[(&str, &str)],
    ours: &[(&str, &str)],
    theirs: &[(&str, &str)],
) -> (Files, Vec<Conflict>) {
    let objects = objects();
    let tree = |list| stored(&objects, &files(list));
    let merged = merge(&objects, &tree(base), &tree(ours), &tree(theirs)).unwrap();
    (files_of(&objects, &merged.tree), merged.conflicts)
}

fn marker(kind: ConflictKind) -> String {
    format!("** Conflict **\n{kind}\n")
}

#[test]
fn merges_each_case_of_the_table() {
    let both =
        merged(&[("a", "1"), ("b", "1")], &[("a", "2"), ("b", "1")], &[("a", "1"), ("b", "2")]);
    assert_eq!(both, (files(&[("a", "2"), ("b", "2")]), vec![]));
    let gone = merged(&[("a", "1"), ("d/x", "1")], &[("a", "1"), ("d/x", "1")], &[("a", "1")]);
    assert_eq!(gone, (files(&[("a", "1")]), vec![]));
    for (base, ours, theirs, kind) in [
        (&[("p", "1")][..], &[("p", "2")][..], &[][..], ConflictKind::RemovedAndChanged),
        (&[], &[("p", "1")], &[("p", "2")], ConflictKind::MadeTwice),
        (&[("p", "1")], &[("p", "2")], &[("p", "3")], ConflictKind::ChangedTwice),
        // A change to a file's mode can cause a conflict, just like a change to its content.
        (&[("p", "1")], &[("p", "2")], &[("p", "x1")], ConflictKind::ChangedTwice),
        (&[("p", "1")], &[("p", "1")], &[("p/x", "1")], ConflictKind::FileAndDir),
        (&[("p/x", "1")], &[("p", "1")], &[("p/x", "1"), ("p/y", "1")], ConflictKind::FileAndDir),
    ] {
        let (files, conflicts) = merged(base, ours, theirs);
        assert_eq!(conflicts, [Conflict { path: b"p".to_vec(), kind }]);
        assert_eq!(files["p"], marker(kind));
        assert_eq!(merged(base, theirs, ours).1, conflicts);
    }
}

#[test]
fn merges_submodules_like_files() {
    let objects = objects();
    let module = |id| {
        let mut tree = Tree::stored(Id::EMPTY_TREE);
        tree.put_node(&objects, b"m", TreeNode::Submodule(id)).unwrap();
        tree
    };
    let [one, two, three] = ["1", "2", "3"]
        .map(|text| module(write_tree(&objects, &edited(&objects, &files(&[("f", text)])))));
    assert_eq!(
        merge(&objects, &one, &one, &two).unwrap().tree.get(&objects, b"m"),
        two.get(&objects, b"m")
    );
    let conflicts = merge(&objects, &one, &two, &three).unwrap().conflicts;
    assert_eq!(conflicts, [Conflict { path: b"m".to_vec(), kind: ConflictKind::ChangedTwice }]);
    let dir = stored(&objects, &files(&[("m/f", "1")]));
    assert_eq!(
        merge(&objects, &one, &two, &dir).unwrap().conflicts[0].kind,
        ConflictKind::FileAndDir
    );
}

#[test]
fn does_not_read_equal_directories() {
    let objects = objects();
    let nowhere = |name: &str| {
        let entry =
            TreeEntry { name: name.as_bytes().into(), mode: EntryMode::Dir, id: Id::EMPTY_TREE };
        TreeNode::Dir(TreeDir::Stored(encode_tree([entry]).unwrap().0))
    };
    let tree = |far: &str, near: &str| {
        let mut tree = Tree::stored(Id::EMPTY_TREE);
        tree.put_node(&objects, b"far", nowhere(far)).unwrap();
        tree.put_node(&objects, b"near", TreeNode::file(EntryMode::Normal, near)).unwrap();
        tree
    };
    let merged = merge(&objects, &tree("a", "1"), &tree("b", "2"), &tree("b", "1")).unwrap();
    assert_eq!(merged.tree.get(&objects, b"far").unwrap(), nowhere("b"));
    let failed = merge(&objects, &tree("a", ""), &tree("b", ""), &tree("c", "")).unwrap_err();
    assert!(matches!(failed, Error::Broken { fault: Fault::Missing, path, .. } if path == b"far"));
}

#[test]
fn merges_large_and_deep_directories() {
    let objects = objects();
    let many: Files = (0..20_000).map(|n| (format!("file {n:05}"), "1".to_owned())).collect();
    let with = |path: &str| {
        let mut files = many.clone();
        files.insert(path.to_owned(), "2".to_owned());
        stored(&objects, &files)
    };
    let merged = merge(&objects, &stored(&objects, &many), &with("ours"), &with("theirs")).unwrap();
    assert_eq!((files_of(&objects, &merged.tree).len(), merged.conflicts), (20_002, vec![]));
    let (base, changed) = (deep(&objects, 5000, "1"), deep(&objects, 5000, "2"));
    assert_eq!(merge(&objects, &base, &changed, &base).unwrap().tree, changed);
}

/// Changed directories are written, dropped and compared recursively, so their depth must be
/// limited to avoid a stack overflow.
#[test]
fn refuses_depth_before_the_stack_overflows() {
    let deeper = |levels: usize| {
        let objects = objects();
        let top = |tree: &Tree, name: &[u8]| {
            let mut tree = tree.clone();
            tree.put_node(&objects, name, TreeNode::file(EntryMode::Normal, "top")).unwrap();
            Tree::stored(write_tree(&objects, &tree))
        };
        let (base, changed) = (deep(&objects, levels, "1"), deep(&objects, levels, "2"));
        let (ours, theirs) = (top(&base, b"ours"), top(&base, b"theirs"));
        write_tree(&objects, &merge(&objects, &base, &ours, &theirs).unwrap().tree);
        write_tree(&objects, &merge(&objects, &base, &changed, &theirs).unwrap().tree);
        // This merge changes our tree at every level, down to the deepest directory.
        merge(&objects, &base, &ours, &changed).map(|merged| write_tree(&objects, &merged.tree))
    };
    let run = move || (deeper(MAX_DEPTH - 1).is_ok(), deeper(5000));
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap();
    assert_eq!(thread.join().unwrap(), (true, Err(Error::TooDeep(MAX_DEPTH))));
}

fn commit(objects: &ObjectCache, list: &[(&str, &str)], parents: &[Id], time: i64) -> Id {
    let tree = write_tree(objects, &edited(objects, &files(list)));
    let (id, object) = Commit::encode(tree, parents, b"", time).unwrap();
    objects.store().write(&[(id, object)]).unwrap();
    id
}

#[test]
fn d38_merges_several_merge_bases() {
    let objects = objects();
    let root = commit(&objects, &[("a", "0"), ("b", "0"), ("c", "0")], &[], 0);
    let left = commit(&objects, &[("a", "1"), ("b", "0"), ("c", "1")], &[root], 1);
    let right = commit(&objects, &[("a", "0"), ("b", "1"), ("c", "2")], &[root], 2);
    let ours = commit(&objects, &[("a", "1"), ("b", "1"), ("c", "1")], &[left, right], 3);
    let theirs = commit(&objects, &[("a", "1"), ("b", "1"), ("c", "1")], &[right, left], 4);
    let base = base_tree(&objects, ours, theirs).unwrap().unwrap();
    let expected = [("a", "1"), ("b", "1"), ("c", &*marker(ConflictKind::ChangedTwice))];
    assert_eq!(files_of(&objects, &base), files(&expected));
    assert_eq!(base_tree(&objects, theirs, ours).unwrap().unwrap(), base);
    assert_eq!(
        base_tree(&objects, root, ours).unwrap().unwrap(),
        stored(&objects, &files(&[("a", "0"), ("b", "0"), ("c", "0")]))
    );
    let other = commit(&objects, &[], &[], 0);
    assert_eq!(base_tree(&objects, other, ours), Ok(None));
}

#[test]
fn merges_repeated_criss_cross_of_three_branches() {
    let objects = objects();
    let mut level = vec![commit(&objects, &[], &[], 0)];
    for time in 1..60 {
        let text = time.to_string();
        level =
            ["a", "b", "c"].map(|path| commit(&objects, &[(path, &text)], &level, time)).to_vec();
    }
    base_tree(&objects, level[0], level[1]).unwrap().unwrap();
}

/// Computes the expected result of a merge, one path at a time.
fn table(base: &Files, ours: &Files, theirs: &Files) -> (Files, Vec<Conflict>) {
    let (mut files, mut conflicts) = (Files::new(), Vec::new());
    let has_below = |files: &Files, path: &str| {
        files.keys().any(|other| other.starts_with(&format!("{path}/")))
    };
    let paths: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let clashes: BTreeSet<_> =
        paths.iter().filter(|path| has_below(ours, path) || has_below(theirs, path)).collect();
    for path in &paths {
        let (b, o, t) = (base.get(*path), ours.get(*path), theirs.get(*path));
        let kind = match (o, t, b) {
            _ if clashes.contains(path) => ConflictKind::FileAndDir,
            _ if clashes.iter().any(|above| path.starts_with(&format!("{above}/"))) => continue,
            _ if o == t || o == b || t == b => {
                files.extend(
                    (if t == b { o } else { t }).map(|text| ((*path).clone(), text.clone())),
                );
                continue;
            }
            (None, ..) | (_, None, _) => ConflictKind::RemovedAndChanged,
            (.., None) => ConflictKind::MadeTwice,
            _ => ConflictKind::ChangedTwice,
        };
        files.insert((*path).clone(), marker(kind));
        conflicts.push(Conflict { path: path.as_bytes().to_vec(), kind });
    }
    (files, conflicts)
}

proptest! {
    #[test]
    fn takes_the_only_changed_side(base in some_files(APART), changed in some_files(APART)) {
        let objects = objects();
        let (base, side) = (stored(&objects, &base), stored(&objects, &changed));
        for (ours, theirs) in [(&base, &side), (&side, &base), (&side, &side)] {
            let merged = merge(&objects, &base, ours, theirs).unwrap();
            prop_assert_eq!(merged.conflicts, vec![]);
            // The merged tree contains no empty directories, even before it is written.
            prop_assert_eq!(write_tree(&objects, &merged.tree), write_tree(&objects, &side));
            prop_assert_eq!(files_of(&objects, &merged.tree), changed.clone());
        }
    }

    #[test]
    fn merges_every_path_as_the_table_says(
        [base, ours, theirs] in [some_files(CLASHING), some_files(CLASHING), some_files(CLASHING)],
    ) {
        let objects = objects();
        let (expected, conflicts) = table(&base, &ours, &theirs);
        let [base, ours, theirs] = [base, ours, theirs].map(|files| [stored(&objects, &files), edited(&objects, &files)]);
        for (ours, theirs) in [(&ours, &theirs), (&theirs, &ours)] {
            for (base, ours, theirs) in [(&base[0], &ours[0], &theirs[0]), (&base[1], &ours[1], &theirs[0])] {
                let merged = merge(&objects, base, ours, theirs).unwrap();
                prop_assert_eq!(&merged.conflicts, &conflicts);
                prop_assert_eq!(&files_of(&objects, &merged.tree), &expected);
            }
        }
    }
}

#[test]
fn refuses_to_add_names_that_git_does_not_allow() {
    let objects = objects();
    let tree = |list: &[(&str, &str)]| stored(&objects, &files(list));
    let (base, ours) = (tree(&[("a", "1")]), tree(&[("a", "2")]));
    for bad in ["x\\.git", "new/x\\.git", "new/deep/er/.git/config"] {
        let theirs = tree(&[("a", "1"), (bad, "1")]);
        assert!(
            matches!(merge(&objects, &base, &ours, &theirs), Err(Error::InvalidName(_))),
            "{bad}"
        );
        let all = tree(&[(bad, "1")]);
        let none = Tree::stored(Id::EMPTY_TREE);
        assert!(matches!(merge(&objects, &none, &none, &all), Err(Error::InvalidName(_))), "{bad}");
        // If both sides already contain an invalid name, the merge still succeeds.
        let [base, theirs] = [("b", "1"), ("b", "2")].map(|b| tree(&[("a", "1"), (bad, "1"), b]));
        let ours = tree(&[("a", "2"), (bad, "1"), ("b", "1")]);
        merge(&objects, &base, &ours, &theirs).unwrap();
    }
}
