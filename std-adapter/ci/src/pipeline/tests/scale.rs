//! Measures how long a CI server with many targets takes to start.

use std::time::Instant;

use super::*;

/// On restart, the pipelines of all targets are read from the database.
#[tokio::test(flavor = "multi_thread")]
async fn pipelines_of_many_targets_are_read_again_from_the_database() -> Done {
    const TARGETS: usize = 300;
    let file: String = (0..5).map(|n| format!("[step.s{n}]\nrun='true'\n")).collect();
    let source = (1..=TARGETS).fold(Commits::default(), |all, n| all.with(n, &file));
    let ci = Ci::new(source, unsandboxed());
    let again = Ci::with_db(ci.db.clone(), Commits::default(), unsandboxed());
    let name = |n| format!("me/app/heads/b{n}");
    for (ci, what) in [(ci, "first start"), (again, "restart")] {
        let began = Instant::now();
        ci.set((1..=TARGETS).map(|n| branch(&format!("b{n}"), n)));
        let terms: Vec<_> = (1..=TARGETS).map(|n| ci.term(&name(n))).collect();
        // Starts the pipelines of all targets.
        for term in &terms {
            assert!(matches!(term.evaluate().outcome, Outcome::Pending(_)));
        }
        for term in &terms {
            let Outcome::Success(tests) = settle(term).await else { panic!("no tests") };
            assert_eq!(tests.len(), 5);
        }
        println!("{what}: pipelines of {TARGETS} targets in {:?}", began.elapsed());
    }
    Ok(())
}
