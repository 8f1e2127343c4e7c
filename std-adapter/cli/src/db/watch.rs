//! `datakit db watch`.

use datakit_client::db::{self, Commit, Content, Db, Path, PathValue};

use crate::commands::{Done, at};
use crate::output;

pub(crate) async fn watch(db: &Db, branch: &str, path: Option<&str>, print: bool) -> Done {
    let path = path.map(parse).transpose()?;
    let handle = db.branch(branch).await.map_err(at(&branch))?;
    let following = async {
        match &path {
            None => follow(handle.watch_head().await, branch, shown_head).await,
            Some(path) => {
                let watch = handle.watch_path(path).await;
                let show =
                    async |value| if print { content(value).await } else { state(value).await };
                follow(watch, path, show).await
            }
        }
    };
    tokio::select! {
        done = following => done,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// Slashes at the ends are nothing that has to be typed right.
fn parse(typed: &str) -> Done<Path> {
    match typed.trim_matches('/') {
        "" => Ok(Path::ROOT),
        path => path.parse().map_err(|error: db::Error| error.to_string()),
    }
}

async fn follow<T: Send + 'static>(
    watch: db::Result<db::Watch<T>>,
    what: impl std::fmt::Display,
    mut show: impl AsyncFnMut(T) -> db::Result<Vec<u8>>,
) -> Done {
    let mut watch = watch.map_err(at(&what))?;
    while let Some(value) = watch.next().await {
        let text = show(value.map_err(at(&what))?).await.map_err(at(&what))?;
        output::print(&text)?;
    }
    Ok(())
}

async fn shown_head(head: Option<Commit>) -> db::Result<Vec<u8>> {
    let Some(head) = head else { return Ok(b"no commits\n".to_vec()) };
    let message = head.message().await?;
    let subject = message.lines().next().unwrap_or_default();
    Ok(format!("{} {}\n", head.id(), output::line(subject)).into())
}

/// What is there, on one line.
async fn state(value: Option<PathValue>) -> db::Result<Vec<u8>> {
    Ok(match value {
        Some(PathValue::File(bytes)) => format!("file {} bytes\n", bytes.len()),
        Some(PathValue::Exec(bytes)) => format!("executable {} bytes\n", bytes.len()),
        Some(PathValue::Link(target)) => {
            format!("symlink -> {}\n", output::line(&target.to_string()))
        }
        Some(PathValue::Dir(tree)) => {
            format!("directory {} names\n", tree.read_dir(&Path::ROOT).await?.len())
        }
        _ => "nothing\n".to_owned(),
    }
    .into())
}

/// What is there, as it is.
async fn content(value: Option<PathValue>) -> db::Result<Vec<u8>> {
    Ok(match value {
        Some(PathValue::File(bytes) | PathValue::Exec(bytes)) => bytes,
        Some(PathValue::Link(target)) => [target.as_bytes(), b"\n"].concat(),
        Some(PathValue::Dir(tree)) => match tree.read(&Path::ROOT).await? {
            Content::Dir(names) => {
                names.iter().flat_map(|name| [name.as_bytes(), b"\n"].concat()).collect()
            }
            _ => Vec::new(),
        },
        _ => Vec::new(),
    })
}
