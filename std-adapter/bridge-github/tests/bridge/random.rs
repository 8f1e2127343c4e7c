//! Makes random changes on GitHub and in the branch while the test injects faults and kills
//! bridges.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use datakit_client::db::{Branch, Error};
use datakit_tests::github::{DeliveryFault, Fault, Object, Repository};
use datakit_tests::random::Random;

use crate::expected;
use crate::setup::{Bridge, Setup, TIMEOUT, commit, files};

/// Returns how many bridges to kill. The number is larger if `RELIABILITY=full` is set.
fn kills() -> usize {
    if std::env::var("RELIABILITY").is_ok_and(|value| value == "full") { 100 } else { 8 }
}

/// The users who change a repository on GitHub and in the branch.
struct Users<'s> {
    setup: &'s Setup,
    repo: Repository,
    branch: Branch,
    random: Random,
    /// The number of statuses written to the branch.
    statuses: usize,
}

impl Users<'_> {
    /// Returns a number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.random.below(u32::try_from(bound).unwrap()) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// Makes a random change on GitHub.
    fn change_github(&mut self) {
        let topic = self.pick(&["a", "b", "c/d", "e+f"]);
        let pulls: Vec<u64> = self
            .repo
            .state()
            .pulls
            .values()
            .filter(|pull| pull.open)
            .map(|pull| pull.number)
            .collect();
        let pull = pulls.get(self.below(pulls.len().max(1))).copied();
        match (self.below(8), pull) {
            (0, _) => drop(self.repo.push(topic, "A change")),
            (1, _) => drop(self.repo.delete_ref(&format!("refs/heads/{topic}"))),
            (2, _) => {
                let head = self.repo.push(topic, "A change to review");
                let number = self.below(1 << 20).to_string();
                self.repo.open_pull_from_fork("bob", "A change", &number, &head);
            }
            (3, Some(pull)) => {
                let title = self.below(100).to_string();
                self.repo.set_title(pull, &title);
            }
            (4, Some(pull)) => self.repo.close_pull(pull),
            (5, Some(pull)) => {
                // The bridge does not detect a comment if its pull request was opened in the same
                // second.
                self.setup.fake.advance(Duration::from_secs(1));
                self.repo.comment(pull, "eve", "A comment");
            }
            (6, _) => {
                let head = self.repo.head("master").unwrap();
                self.repo.set_ref("refs/tags/v", Object::commit(&head));
            }
            _ => {
                let head = self.repo.head(topic).or(self.repo.head("master")).unwrap();
                let state = self.pick(&["success", "failure", "pending"]);
                self.repo.set_status(&head, "other/ci", state, None, None);
            }
        }
    }

    /// Makes a random change in the branch. Each status has a unique description.
    async fn change_branch(&mut self) {
        let files = files(&self.branch).await;
        let heads: Vec<&str> = files
            .iter()
            .filter(|(path, _)| path.contains("/ref/heads/") && path.ends_with("/head"))
            .map(|(_, head)| head.trim())
            .collect();
        if heads.is_empty() {
            return;
        }
        let head = self.pick(&heads);
        let title = files.keys().find(|path| path.ends_with("/title"));
        match (self.below(6), title) {
            (0, Some(title)) => {
                let text = self.below(100).to_string();
                replace(&self.branch, title, &text).await;
            }
            (1, _) => {
                commit(&self.branch, &[("alice/hello/ref/heads/made/head", Some(head))]).await
            }
            (2, _) if files.contains_key("alice/hello/ref/heads/made/head") => {
                commit(&self.branch, &[("alice/hello/.dirty", Some(""))]).await;
            }
            _ => {
                let context = self.pick(&["ci/a", "ci/b", "ci"]);
                let state = self.pick(&["success", "failure", "pending", "error"]);
                self.statuses += 1;
                let dir = format!("alice/hello/commit/{head}/status/{context}");
                let description = format!("number {}", self.statuses);
                commit(
                    &self.branch,
                    &[
                        (&format!("{dir}/state"), Some(state)),
                        (&format!("{dir}/description"), Some(&description)),
                    ],
                )
                .await;
            }
        }
    }

    /// Makes calls and webhook deliveries fail at random.
    fn add_fault(&mut self) {
        let call = self.pick(&[
            "GET *pulls*",
            "GET *refs*",
            "GET *status*",
            "POST *statuses*",
            "PATCH *",
            "*",
        ]);
        let fault = match self.below(7) {
            0 => Fault::Status(502),
            1 => Fault::Close,
            2 => Fault::Lost,
            3 => Fault::Cut,
            4 => Fault::HalfBody,
            5 => Fault::Abuse { status: 403, retry_after: Some(1) },
            _ => Fault::Slow(Duration::from_millis(50)),
        };
        self.setup.fake.fault(call, fault, 1 + self.below(3) as u32);
        let fault = match self.below(3) {
            0 => DeliveryFault::Drop,
            1 => DeliveryFault::Double,
            _ => DeliveryFault::Swap,
        };
        self.setup.fake.fault_delivery("*", fault, 1);
    }

    /// Waits until GitHub and the branch are equal, and then checks that no status was sent twice.
    async fn check(&self, bridge: &Bridge) {
        self.setup.fake.heal();
        let repo = &self.repo;
        let branch = &self.branch;
        let normal = |mut files: BTreeMap<String, String>| {
            // Compare trimmed values, because the bridge preserves the white space that users
            // wrote.
            files.values_mut().for_each(|value| *value = value.trim().to_owned());
            files
        };
        let differences = async || {
            let (found, wanted) = (normal(files(branch).await), normal(expected::files(repo)));
            let missing = wanted.iter().filter(|file| found.get(file.0) != Some(file.1));
            let surplus = found.iter().filter(|file| !wanted.contains_key(file.0));
            let missing = missing.map(|file| format!("missing {file:?}"));
            missing.chain(surplus.map(|file| format!("surplus {file:?}"))).collect::<Vec<String>>()
        };
        let end = Instant::now() + TIMEOUT;
        loop {
            let differences = differences().await;
            if differences.is_empty() {
                break;
            }
            assert!(Instant::now() < end, "{differences:#?}\n{}", bridge.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for (sha, statuses) in &repo.state().statuses {
            let mut sent = BTreeSet::new();
            for status in statuses.iter().filter(|status| status.description.is_some()) {
                assert!(
                    sent.insert(status.description.clone()),
                    "{:?} was sent more than once: {:#?}",
                    status.description,
                    self.calls_about(sha)
                );
            }
        }
    }

    /// Returns the calls whose URL contains `text`.
    fn calls_about(&self, text: &str) -> Vec<String> {
        let calls = self.setup.fake.calls().into_iter().filter(|call| call.target.contains(text));
        calls.map(|call| format!("{} {:?} {}", call.target, call.status, call.body)).collect()
    }
}

/// Replaces the content of a file unless the file was removed in the meantime.
async fn replace(branch: &Branch, path: &str, content: &str) {
    let path = path.parse().unwrap();
    let replaced = branch
        .with_transaction(async |transaction| {
            transaction.replace_file(&path, content.as_bytes()).await?;
            transaction.commit("Change by a user").await.map(drop)
        })
        .await;
    assert!(matches!(replaced, Ok(()) | Err(Error::NotFound | Error::Conflict(_))), "{replaced:?}");
}

fn start(setup: &Setup, address: &str) -> Bridge {
    let secret = setup.secret("webhook", "datakit-secret");
    setup.bridge(&[
        "-r",
        "alice/hello",
        "-c",
        "*:rw,status[ci]:x",
        "--resync-interval",
        "2",
        "--github-timeout",
        "2",
        "-v",
        "--webhook",
        &format!("http://{address}/"),
        "--webhook-secret-file",
        &secret,
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn both_sides_converge_although_bridges_are_killed() {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let setup = Setup::new();
    let repo = setup.fake.create("alice/hello");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let branch = setup.branch().await;
    let mut users = Users { setup: &setup, repo, branch, random: Random::new(seed), statuses: 0 };
    for run in 0..kills() {
        eprintln!("seed {seed}, bridge {run}");
        let bridge = start(&setup, &address);
        for _ in 0..users.below(12) {
            match users.below(5) {
                0 | 1 => users.change_github(),
                2 | 3 => users.change_branch().await,
                _ => users.add_fault(),
            }
            let pause = users.below(150);
            tokio::time::sleep(Duration::from_millis(pause as u64)).await;
        }
        if run % 4 == 3 {
            users.check(&bridge).await;
        }
        bridge.kill();
    }
    let bridge = start(&setup, &address);
    users.check(&bridge).await;
    assert_eq!(users.repo.hooks().len(), 1, "the webhook is registered once");
    assert!(users.statuses > 0);
}
