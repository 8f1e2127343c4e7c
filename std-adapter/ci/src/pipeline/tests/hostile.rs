//! Tests with hostile files and unusual names.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_a_usable_file_fails_with_the_reason() -> Done {
    let source = Commits::default().with(2, &"#".repeat(FILE_MAX + 1)).with(3, "[step.a]\n\0");
    let ci = Ci::new(source, unsandboxed());
    for (commit, expected) in [
        (2, ".datakit-ci.toml has more than 65536 bytes"),
        (3, "2 errors; the first: .datakit-ci.toml:2:1: this is not valid TOML"),
        (9, "there is no commit 9"),
    ] {
        ci.set([branch("master", commit)]);
        let error = ci.results("me/app/heads/master").await.unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
    Ok(())
}

/// An old branch or tag need not have a pipeline file, but a pull request must not remove the file.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_is_an_error_only_if_the_target_branch_has_one() -> Done {
    let file = "[step.a]\nrun='true'\n";
    let mut source = Commits::default().with(2, file);
    source.files.insert(1, Files::new());
    source.files.insert(3, Files::new());
    let ci = Ci::new(source, unsandboxed());
    ci.set([branch("old", 1), branch("master", 2), pr(7, 3)]);
    assert!(ci.results("me/app/heads/old").await?.is_empty());
    let log = ci.read(&format!("pipeline-me-app-of-{}", hash(1)), "log").await.unwrap();
    assert!(log.contains("The commit has no file .datakit-ci.toml, so no step runs"), "{log}");
    let again = Ci::with_db(ci.db.clone(), Commits::default(), unsandboxed());
    again.set([branch("old", 1)]);
    assert!(again.results("me/app/heads/old").await?.is_empty());
    let error = ci.results("me/app/prs/7").await.unwrap_err();
    assert_eq!(error, "the commit does not contain .datakit-ci.toml");
    let mut source = Commits::default();
    source.files.insert(1, Files::new());
    source.files.insert(3, Files::new());
    let ci = Ci::new(source, unsandboxed());
    ci.set([branch("master", 1), pr(7, 3)]);
    assert!(ci.results("me/app/prs/7").await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_step_ends_at_its_time_limit() -> Done {
    let file = "[step.a]\nrun='trap \"\" TERM; while :; do sleep 0.1; done'\ntimeout='1s'\n\
                [step.b]\nrun='true'\nneeds='a'\n";
    let ci = Ci::new(Commits::default().with(1, file), unsandboxed());
    ci.set([branch("master", 1)]);
    let results = ci.results("me/app/heads/master").await?;
    assert_eq!(results["a"], Outcome::failure("timed out after 1s"));
    assert_eq!(results["b"], Outcome::failure("a failed"));
    Ok(())
}

/// A branch name can contain any character that Git allows. The log shows the name unchanged, and
/// the branches that contain the results have valid names.
#[tokio::test(flavor = "multi_thread")]
async fn names_with_every_legal_character_are_tested() -> Done {
    let printable: String = ('!'..='~').filter(|c| !"~^:?*[\\/.".contains(*c)).collect();
    let names = [
        format!("a{printable}"),
        "fix/$(touch hacked)`id`;&|<>".replace(' ', "_"),
        "--upload-pack=x".to_owned(),
        "\u{fc}\u{1f980}/\u{202e}x".to_owned(),
        "a'b\"c".to_owned(),
        "refs/heads/x.y.z".to_owned(),
    ];
    let file = "[step.a]\nrun='echo \"for $DATAKIT_CI_TARGET\"; ls'\nper-target=true\n";
    let ci = Ci::new(Commits::default().with(1, file), unsandboxed());
    for name in &names {
        ci.set([branch(name, 1)]);
        let target = format!("me/app/heads/{name}");
        assert_eq!(ci.results(&target).await?["a"], passed(), "{name}");
    }
    let branches = ci.branches().await;
    let logs = branches.iter().filter(|branch| branch.starts_with("step-")).collect::<Vec<_>>();
    assert_eq!(logs.len(), names.len());
    for branch in logs {
        let log = ci.read(branch, "log").await.unwrap();
        assert!(!log.lines().any(|line| line == "hacked"), "{log}");
        let name = names.iter().find(|name| log.contains(&format!("\nfor me/app/heads/{name}\n")));
        assert!(name.is_some(), "{branch}: {log}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_axes_do_not_change_commands() -> Done {
    let file = "[step.a]\nrun='echo \"$MATRIX_V\" ${matrix.v} || echo \"v is $MATRIX_V\"'\n\
                matrix={v=['1.88','+x:y']}\n";
    let ci = Ci::new(Commits::default().with(1, file), unsandboxed());
    ci.set([branch("master", 1)]);
    let results = ci.results("me/app/heads/master").await?;
    // The shell rejects `${matrix.v}`, because the CI does not expand it in commands.
    let names: Vec<&String> = results.keys().collect();
    assert_eq!(names, ["a:v=+x:y", "a:v=1.88"]);
    assert!(results.values().all(|outcome| matches!(outcome, Outcome::Failure(_))));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_chain_of_steps_runs_to_its_end() -> Done {
    let chain: String =
        (1..100).map(|n| format!("[step.s{n}]\nrun='true'\nneeds='s{}'\n", n - 1)).collect();
    let file = format!("{chain}[step.s0]\nrun='true'\n");
    let ci = Ci::new(Commits::default().with(1, &file), unsandboxed());
    ci.set([branch("master", 1)]);
    let results = ci.results("me/app/heads/master").await?;
    assert_eq!(results.len(), 100);
    assert!(results.values().all(|outcome| *outcome == passed()), "{results:?}");
    Ok(())
}

/// Pipelines are read and planned by terms, so both operations must be fast.
#[test]
fn a_file_with_many_patterns_is_planned_quickly() -> Done {
    let pattern = "**a".repeat(80);
    let step = |n| format!("[step.s{n}]\nrun='x'\nwhen.paths=['{pattern}','{pattern}']\n");
    let file: String = (0..100).map(step).collect();
    let changed = Some(vec!["a".repeat(1000); 3000]);
    let trigger = Trigger { target: "me/app/prs/1".parse()?, base: None, changed };
    let began = std::time::Instant::now();
    let plan = Plan::new(&Pipeline::parse(FILE, &file)?, &trigger);
    assert_eq!(plan.tasks.len(), 100);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    Ok(())
}

#[test]
fn a_large_file_is_read_quickly() {
    let wide: String = (0..90)
        .map(|n| format!("[step.s{n}]\nrun='x'\nneeds=[{}]\n", "'s1',".repeat(100)))
        .collect();
    let unknown: String = (0..4000).map(|n| format!("tiemuot{n}=1\n")).collect();
    let references = format!("[step.a]\nrun='x'\nenv.A='{}'\n", "${matrix.x}".repeat(5000));
    let needs: String = (0..100)
        .map(|n| {
            let needs: String = (0..n).map(|need| format!("'s{need}',")).collect();
            format!("[step.s{n}]\nrun='x'\nneeds=[{needs}]\n")
        })
        .collect();
    for text in [wide, unknown, references, needs] {
        assert!(text.len() <= FILE_MAX, "{}", text.len());
        let began = std::time::Instant::now();
        if let Ok(pipeline) = Pipeline::parse(FILE, &text) {
            assert_eq!(Plan::all(&pipeline).tasks.len(), pipeline.steps.len());
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}
