//! Reads, plans and runs this project's own pipeline.

use std::path::{Path, PathBuf};

use datakit_ci::pipeline::{Caches, FILE, local};

type Done = Result<(), Box<dyn std::error::Error>>;

/// Returns the root of the repository, or `None` if the crate is tested outside the repository.
fn repository() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    if !root.join(FILE).is_file() {
        println!("skipped: the crate is not in the repository");
        return None;
    }
    root.canonicalize().ok()
}

#[test]
fn the_pipeline_is_valid_and_selects_steps() -> Done {
    let Some(root) = repository() else { return Ok(()) };
    let explain = |target: &str, base| -> Result<String, Box<dyn std::error::Error>> {
        Ok(local::explain(&root, &target.parse()?, base)?)
    };
    let all = "fmt\nclippy, after fmt, with network\ntest, after fmt, with network\n";
    assert_eq!(explain("datakit-rs/datakit/heads/master", None)?, all);
    assert_eq!(explain("datakit-rs/datakit/prs/1", Some("master"))?, all);
    assert_eq!(
        explain("datakit-rs/datakit/heads/topic", None)?,
        "fmt\n\
         (clippy does not run: `when` does not select the branch `topic`)\n\
         (test does not run: `when` does not select the branch `topic`)\n"
    );
    Ok(())
}

/// This test compiles the crate and its dependencies, which takes minutes and requires network
/// access.
#[tokio::test]
#[ignore = "takes minutes"]
async fn the_whole_pipeline_passes_in_the_sandbox() -> Done {
    let Some(root) = repository() else { return Ok(()) };
    let target = Some("datakit-rs/datakit/heads/master".parse()?);
    let mut options = local::LocalOptions { target, ..local::LocalOptions::default() };
    let caches = tempfile::tempdir()?;
    options.settings.caches = Some(Caches::open(caches.path())?);
    let status = local::run(&root, &options, &mut std::io::stdout()).await;
    assert_eq!(status, local::ExitStatus::Passed);
    Ok(())
}

#[tokio::test]
async fn the_step_fmt_passes_in_the_sandbox() -> Done {
    let Some(root) = repository() else { return Ok(()) };
    for program in ["bwrap", "cargo-fmt"] {
        let path = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|dir| dir.join(program).is_file()) {
            println!("skipped: {program} is not installed");
            return Ok(());
        }
    }
    let options =
        local::LocalOptions { steps: vec!["fmt".to_owned()], ..local::LocalOptions::default() };
    let mut output = Vec::new();
    let status = local::run(&root, &options, &mut output).await;
    let output = String::from_utf8_lossy(&output);
    assert_eq!(status, local::ExitStatus::Passed, "{output}");
    assert!(output.contains("\nfmt: passed in "), "{output}");
    println!("{output}");
    Ok(())
}
