//! Random snapshots for property tests. The number of different names is small, so that the
//! snapshots overlap.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::*;

fn repo() -> impl Strategy<Value = Repo> {
    select(vec!["a/b", "a/b2", "b/.github"]).prop_map(|repo| repo.parse().unwrap())
}

fn hash() -> impl Strategy<Value = Hash> {
    select(vec!["0".repeat(40), "f".repeat(40), "1".repeat(64)])
        .prop_map(|hash| Hash::parse(hash).unwrap())
}

pub(crate) fn commit() -> impl Strategy<Value = Commit> {
    (repo(), hash()).prop_map(|(repo, hash)| Commit { repo, hash })
}

fn ref_name() -> impl Strategy<Value = RefName> {
    let names: Vec<&[u8]> = vec![
        b"heads/master",
        b"tags/master",
        b"heads/head",
        b"heads/heads/tags",
        b"heads/caf\xe9",
        b"heads/c++#@{",
        b"heads/-x/y",
    ];
    let names: Vec<RefName> = names.into_iter().flat_map(RefName::parse).collect();
    select(names)
}

fn context() -> impl Strategy<Value = Context> {
    select(vec!["", "foo", "foo/bar", "foo/bar/baz", "description", "status", "a b"])
        .prop_map(|context| context.parse().unwrap())
}

fn text() -> impl Strategy<Value = Text> {
    "[ a\u{e9}\n]{0,4}".prop_map(Text::from)
}

pub(crate) fn comment() -> impl Strategy<Value = Comment> {
    (0..3u64, text(), "[ a\u{e9}\r\n]{0,4}").prop_map(|(id, user, body)| Comment { id, user, body })
}

fn pr() -> impl Strategy<Value = Pr> {
    let id = (repo(), select(vec![1, 2, u64::MAX]));
    let state = select(vec![PrState::Open, PrState::Closed]);
    (id, hash(), state, text(), text(), text(), vec(comment(), 0..12)).prop_map(
        |((repo, number), head, state, title, owner, base, comments)| Pr {
            id: PrId { repo, number },
            head,
            state,
            title,
            owner,
            base,
            comments,
        },
    )
}

fn reference() -> impl Strategy<Value = Ref> {
    (repo(), ref_name(), hash())
        .prop_map(|(repo, name, head)| Ref { id: RefId { repo, name }, head })
}

fn status() -> impl Strategy<Value = Status> {
    let description = option::of("[ a\u{e9}]{0,90}".prop_map(|text| Description::from(&*text)));
    let state = select(StatusState::ALL.to_vec());
    (commit(), context(), state, description, option::of(text())).prop_map(
        |(commit, context, state, description, target_url)| Status {
            id: StatusId { commit, context },
            state,
            description,
            target_url,
        },
    )
}

fn element() -> impl Strategy<Value = Element> {
    prop_oneof![
        1 => repo().prop_map(Element::from),
        1 => commit().prop_map(Element::from),
        3 => pr().prop_map(Element::from),
        3 => reference().prop_map(Element::from),
        4 => status().prop_map(Element::from),
    ]
}

/// Generates arbitrary snapshots, including ones with commits that have neither a ref nor a status.
pub(crate) fn snapshot() -> impl Strategy<Value = Snapshot> {
    vec(element(), 0..12).prop_map(|elements| elements.into_iter().collect())
}

/// Generates only snapshots that files can represent.
pub(crate) fn stored_snapshot() -> impl Strategy<Value = Snapshot> {
    snapshot().prop_map(|mut snapshot| {
        for repo in snapshot.repos().clone() {
            snapshot.remove_bare_commits(&repo);
        }
        snapshot
    })
}
