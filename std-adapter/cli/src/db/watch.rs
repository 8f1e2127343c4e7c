//! The `datakit db watch` command.

use datakit_client::db::{self, Commit, Content, Db, Path, PathValue};

use super::text::{parse_path, subject};
use crate::error::{CliResult, at};
use crate::stdio;

/// Prints the head of a branch, or the value at `path` in the branch, and then prints each change
/// until SIGINT arrives.
pub(super) async fn watch(db: &Db, branch: &str, path: Option<&str>, print: bool) -> CliResult {
    let path = path.map(parse_path).transpose()?;
    let handle = db.branch(branch).await.map_err(at(&branch))?;
    let following = async {
        match &path {
            None => follow(handle.watch_head().await, branch, head_line).await,
            Some(path) => {
                let watch = handle.watch_path(path).await;
                let format = async |value| match print {
                    true => content(value).await,
                    false => summary(value).await,
                };
                follow(watch, path, format).await
            }
        }
    };
    tokio::select! {
        result = following => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn follow<T: Send + 'static>(
    watch: db::Result<db::Watch<T>>,
    subject: impl std::fmt::Display,
    mut format: impl AsyncFnMut(T) -> db::Result<Vec<u8>>,
) -> CliResult {
    let mut watch = watch.map_err(at(&subject))?;
    while let Some(value) = watch.next().await {
        let text = format(value.map_err(at(&subject))?).await.map_err(at(&subject))?;
        stdio::print(&text)?;
    }
    Ok(())
}

async fn head_line(head: Option<Commit>) -> db::Result<Vec<u8>> {
    let Some(head) = head else { return Ok(b"no commits\n".to_vec()) };
    Ok(format!("{} {}\n", head.id(), subject(&head.message().await?)).into())
}

/// Returns a one-line description of a value.
async fn summary(value: Option<PathValue>) -> db::Result<Vec<u8>> {
    Ok(match value {
        Some(PathValue::File(bytes)) => format!("file {} bytes\n", bytes.len()),
        Some(PathValue::Exec(bytes)) => format!("executable {} bytes\n", bytes.len()),
        Some(PathValue::Link(target)) => {
            format!("symlink -> {}\n", stdio::line(&target.to_string()))
        }
        Some(PathValue::Dir(tree)) => {
            format!("directory {} names\n", tree.read_dir(&Path::ROOT).await?.len())
        }
        _ => "nothing\n".to_owned(),
    }
    .into())
}

/// Returns the content of a file, the target of a link, or the names in a directory.
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
