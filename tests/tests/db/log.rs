//! Tests for `log`, a file that lists the history of a branch or commit in the same order as `git
//! log`.

use datakit_tests::db::{Repository, TestDb, UNKNOWN};
use datakit_tests::on_both;

on_both! {
    a_log_has_a_line_for_each_commit,
    a_log_can_be_read_in_pieces_and_again,
    a_branch_without_commits_has_an_empty_log,
}

fn a_log_has_a_line_for_each_commit(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    let first = master.commit(&[("f", "1")]);
    let second = master.commit(&[("f", "2")]);
    let log = master.read("log");
    let lines: Vec<Vec<&str>> = log.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.len(), 2, "{log}");
    for (line, [commit, parents]) in lines.iter().zip([[second.as_str(), &first], [&first, ""]]) {
        assert_eq!((line[0], line[1], line[4]), (commit, parents, "a change"));
        assert!(
            line[2].starts_with("20") && line[3] == "datakit <datakit@mobyproject.org>",
            "{line:?}"
        );
    }
    assert_eq!(connection.read(&format!("snapshots/{second}/log")), log);
    assert_eq!(
        connection.read(&format!("snapshots/{first}/log")),
        format!("{}\n", log.lines().last().unwrap())
    );
}

fn a_log_can_be_read_in_pieces_and_again(db: &TestDb) {
    let connection = db.connect();
    let master = connection.master();
    for number in 0..20 {
        master.commit(&[("f", &number.to_string())]);
    }
    let log = master.read("log");
    let path = master.path("log");
    for step in [1, 7, 100, 100_000] {
        assert_eq!(
            connection
                .read_in(&path, &mut (0..=log.len()).step_by(step).map(|at| (at as u64, step))),
            log
        );
    }
    // A read may start at a smaller offset than the previous one.
    let at = log.len() as u64 / 2;
    let half = &log[log.len() / 2..];
    assert_eq!(
        connection.read_in(&path, &mut [(at, 1 << 17), (0, 1 << 17)].into_iter()),
        format!("{half}{log}")
    );
}

fn a_branch_without_commits_has_an_empty_log(db: &TestDb) {
    let connection = db.connect();
    assert_eq!(connection.branch("new").read("log"), "");
}

/// Returns the output of `git log`, converted to the format of the `log` file. The `log` file
/// escapes line feeds in messages.
fn of_git(repository: &Repository, commit: &str) -> String {
    let text = repository.git(&["log", "--format=%H%x09%P%x09%aI%x09%an <%ae>%x09%B%x00", commit]);
    text.split('\0')
        .map(str::trim_start)
        .filter(|line| !line.is_empty())
        .map(|line| format!("{}\n", line.replace('\\', "\\\\").replace('\n', "\\n")))
        .collect()
}

#[test]
fn a_log_has_the_order_of_git_log() {
    let repository = Repository::bare();
    let tree = repository.object("tree", b"");
    let mut commits: Vec<String> = Vec::new();
    // From one commit to the next, the time may stay the same, increase or decrease. Some commits
    // are merges.
    for number in 0..60usize {
        let time = 1_700_000_000 + [0, 5, 5, 3, 60, 61, 61][number % 7] + number / 7 * 50;
        let parents =
            [number.checked_sub(1), (number % 5 == 4).then(|| number - 3)].into_iter().flatten();
        let parents: String =
            parents.map(|parent| format!("parent {}\n", commits[parent])).collect();
        let by = format!("A <a@b> {time} +0{}00", number % 3);
        let text = format!(
            "tree {tree}\n{parents}author {by}\ncommitter {by}\n\nnumber {number}\n\nof \\ many\n"
        );
        commits.push(repository.object("commit", text.as_bytes()));
    }
    repository.point("master", commits.last().unwrap());
    let db = TestDb::on(repository);
    let connection = db.connect();
    assert_eq!(connection.master().read("log"), of_git(db.repository(), "master"));
}

#[test]
fn a_log_ends_with_an_error_at_a_missing_commit_but_not_at_a_shallow_one() {
    let repository = Repository::bare();
    let first = repository.commit(None, "f", "1");
    let second = repository.commit(Some(&first), "f", "2");
    let third = repository.commit(Some(&second), "f", "3");
    repository.point("master", &third);
    std::fs::remove_file(repository.loose(&first)).unwrap();
    let db = TestDb::on(repository);
    let connection = db.connect();
    let master = connection.master();
    let error = connection.try_read("branch/master/log").unwrap_err().to_string();
    assert_eq!(error, format!("object {first} is missing"));
    // The log lists the existing commits before it reports the missing one.
    let text = connection.read_in("branch/master/log", &mut [(0, 1 << 17)].into_iter());
    assert_eq!(text.lines().count(), 2);
    std::fs::write(db.repository().git_dir().join("shallow"), format!("{second}\n")).unwrap();
    assert_eq!(master.read("log"), text);
    assert!(connection.try_read(&format!("snapshots/{UNKNOWN}/log")).is_err());
    // The oldest commit in a shallow history can be a merge base.
    let other = db.repository().commit(Some(&second), "g", "1");
    let transaction = master.transaction();
    assert_eq!(transaction.merge(&other).unwrap(), "");
    transaction.commit("merged").unwrap();
}
