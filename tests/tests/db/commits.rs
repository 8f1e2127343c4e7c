//! Tests for commits made by other programs. The commits contain every kind of malformed data that
//! Git tolerates.

use datakit_tests::db::{Repository, TestDb};
use serde_json::Value;

/// The kinds of commits to test. Each kind has a name, the bytes after the `tree` and `parent`
/// lines, and the author, date and message that the server must report.
const KINDS: [(&str, &[u8], [&str; 3]); 32] = [
    ("plain", b"author A <a@b> 1700000000 +0200\ncommitter C <c@d> 1700000009 -0100\n\nm\n", [AUTHOR, DATE, "m\n"]),
    ("no author", b"committer C <c@d> 1 +0000\n\nm", ["", "", "m"]),
    ("no committer", b"author A <a@b> 1700000000 +0200\n\nm", [AUTHOR, DATE, "m"]),
    ("neither", b"\nm", ["", "", "m"]),
    ("only unknown", b"unknown thing\n\nm", ["", "", "m"]),
    (
        "two authors",
        b"author X <x> 1 +0000\nauthor A <a@b> 1700000000 +0200\ncommitter C <c> 1 +0000\n\nm",
        [AUTHOR, DATE, "m"],
    ),
    (
        "two committers",
        b"author A <a@b> 1700000000 +0200\ncommitter C <c> 1 +0000\ncommitter D <d> 2 +0000\n\nm",
        [AUTHOR, DATE, "m"],
    ),
    ("in another order", b"committer C <c> 1 +0000\nauthor A <a@b> 1700000000 +0200\n\nm", [AUTHOR, DATE, "m"]),
    ("no time", b"author A <a@b>\ncommitter C <c@d>\n\nm", [AUTHOR, "", "m"]),
    ("no zone", b"author A <a@b> 1700000000\ncommitter C <c@d> 1700000000\n\nm", [AUTHOR, UTC, "m"]),
    ("no address", b"author A\ncommitter C\n\nm", ["A", "", "m"]),
    ("no name", b"author <a@b> 1700000000 +0200\ncommitter <c> 1 +0000\n\nm", ["<a@b>", DATE, "m"]),
    ("empty author", b"author \ncommitter \n\nm", ["", "", "m"]),
    ("open address", b"author A <a@b 1700000000 +0200\ncommitter C <c\n\nm", ["A <a@b 1700000000 +0200>", "", "m"]),
    (
        "address with brackets",
        b"author A <a>@b> 1700000000 +0200\ncommitter C <<c>> 1 +0000\n\nm",
        ["A <a>", DATE, "m"],
    ),
    ("newline in the name", b"author A\nB <a@b> 1 +0000\ncommitter C\nD <c> 1 +0000\n\nm", ["A", "", "m"]),
    ("time that is no number", b"author A <a@b> soon +0200\ncommitter C <c> now +0000\n\nm", [AUTHOR, "", "m"]),
    ("zone that is no number", b"author A <a@b> 1700000000 CET\ncommitter C <c> 1 UTC\n\nm", [AUTHOR, UTC, "m"]),
    ("zone that is no zone", b"author A <a@b> 1700000000 +51800\ncommitter C <c> 1 -9999\n\nm", [AUTHOR, UTC, "m"]),
    (
        "negative zone",
        b"author A <a@b> 1700000000 -0830\ncommitter C <c> 1 -1200\n\nm",
        [AUTHOR, "2023-11-14T13:43:20-08:30", "m"],
    ),
    (
        "negative time",
        b"author A <a@b> -1 +0000\ncommitter C <c> -1 +0000\n\nm",
        [AUTHOR, "1969-12-31T23:59:59+00:00", "m"],
    ),
    (
        "huge time",
        b"author A <a@b> 99999999999999999999 +0000\ncommitter C <c> 18446744073709551615 +0000\n\nm",
        [AUTHOR, EPOCH, "m"],
    ),
    (
        "long past",
        b"author A <a@b> -9223372036854775808 +0000\ncommitter C <c> -99999999999999999999 +0\n\nm",
        [AUTHOR, EPOCH, "m"],
    ),
    (
        "signed",
        b"author A <a@b> 1700000000 +0200\ncommitter C <c> 1 +0000\ngpgsig -----BEGIN\n \n x\n -----END\n\nm",
        [AUTHOR, DATE, "m"],
    ),
    (
        "merged tag",
        b"author A <a@b> 1700000000 +0200\ncommitter C <c> 1 +0000\nmergetag object x\n type commit\n author no\n\nm",
        [AUTHOR, DATE, "m"],
    ),
    ("no message", b"author A <a@b> 1700000000 +0200\ncommitter C <c> 1 +0000\n", [AUTHOR, DATE, ""]),
    ("cut off", b"author A <a@b> 1700000000 +0200\ncommitter C <c", [AUTHOR, DATE, ""]),
    (
        "carriage returns",
        b"author A <a@b> 1700000000 +0200\r\ncommitter C <c> 1 +0000\r\n\r\nm\r\n",
        [AUTHOR, DATE, "m\r\n"],
    ),
    ("zeros", b"author A <a@b> 1700000000 +0200\ncommitter C\0 <c> 1 +0000\nx \0\n\nm\0n", [AUTHOR, DATE, "m\0n"]),
    (
        "in latin 1",
        b"author J\xf6 <a@b> 1700000000 +0200\ncommitter C <c> 1 +0000\nencoding ISO-8859-1\n\ngr\xfcn",
        ["J\u{f6} <a@b>", DATE, "gr\u{fc}n"],
    ),
    (
        "in no known encoding",
        b"author A <a@b> 1700000000 +0200\ncommitter C <c> 1 +0000\nencoding klingon\n\nm",
        [AUTHOR, DATE, "m"],
    ),
    (
        "in UTF-16",
        b"author A <a@b> 1700000000 +0200\ncommitter C <c> 1 +0000\nencoding UTF-16LE\n\nm\0!\0",
        [AUTHOR, DATE, "m!"],
    ),
];
const AUTHOR: &str = "A <a@b>";
const DATE: &str = "2023-11-15T00:13:20+02:00";
const UTC: &str = "2023-11-14T22:13:20+00:00";
const EPOCH: &str = "1970-01-01T00:00:00+00:00";

/// Writes a commit whose parent is `first` and that contains the bytes `headers`, and returns the
/// commit's hash.
fn damaged(repository: &Repository, first: &str, headers: &[u8]) -> String {
    let tree = repository.git(&["rev-parse", &format!("{first}^{{tree}}")]);
    let head = format!("tree {tree}\nparent {first}\n");
    repository.object("commit", &[head.as_bytes(), headers].concat())
}

#[test]
fn commits_are_read_as_leniently_as_by_git() {
    let repository = Repository::bare();
    let first = repository.commit(None, "f", "1");
    let commits: Vec<_> =
        KINDS.iter().map(|(_, headers, _)| damaged(&repository, &first, headers)).collect();
    for (number, commit) in commits.iter().enumerate() {
        repository.point(&format!("kind{number}"), commit);
    }
    let db = TestDb::on(repository);
    let connection = db.connect();
    for (number, (commit, (kind, _, [author, date, message]))) in
        commits.iter().zip(KINDS).enumerate()
    {
        assert_eq!(connection.read(&format!("branch/kind{number}/ro/f")), "1", "{kind}");
        let msg = connection.read(&format!("snapshots/{commit}/msg"));
        assert_eq!(msg.trim_end_matches('\n'), message.trim_end_matches('\n'), "{kind}");
        assert_eq!(
            connection.read(&format!("snapshots/{commit}/parents")),
            format!("{first}\n"),
            "{kind}"
        );
        let json: Value =
            serde_json::from_str(&connection.read(&format!("commits/{commit}"))).unwrap();
        let shown = ["author", "date", "message"].map(|field| json[field].as_str().unwrap());
        assert_eq!(shown, [author, date, message], "{kind}");
        assert_eq!(json["parents"][0], first.as_str(), "{kind}");
    }
}

#[test]
fn branches_with_damaged_commits_stay_usable() {
    let repository = Repository::bare();
    let first = repository.commit(None, "f", "1");
    for (number, (_, headers, _)) in KINDS.iter().enumerate() {
        repository.point(&format!("kind{number}"), &damaged(&repository, &first, headers));
    }
    let db = TestDb::on(repository);
    let connection = db.connect();
    for (number, (kind, ..)) in KINDS.iter().enumerate() {
        let branch = connection.branch(&format!("kind{number}"));
        let damaged = branch.head();
        let (late, other) = (branch.transaction(), branch.transaction());
        late.write("late", "1");
        other.write("other", "1");
        other.commit("in between").unwrap();
        // The server reads the damaged commit to find the merge base.
        late.commit("late").unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(connection.names(&branch.path("ro")), "f late other", "{kind}");
        let merging = connection.branch(&format!("merge{number}"));
        merging.fast_forward(&first).unwrap();
        merging.commit(&[("apart", "1")]);
        let transaction = merging.transaction();
        assert_eq!(transaction.merge(&damaged).unwrap(), "", "{kind}");
        transaction.commit("merged").unwrap();
        branch.fast_forward(&damaged).expect_err("not backwards");
    }
}
