//! `datakit db commit`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use datakit_client::db::{Db, Path, Transaction};
use tokio::io::AsyncReadExt;

use crate::commands::{Done, at};
use crate::output;

/// A file that is put into a branch.
#[derive(Debug, Clone)]
pub(crate) struct Put {
    to: Path,
    /// `None` is standard input.
    from: Option<PathBuf>,
}

impl Put {
    /// Reads `FILE=PATH`. The name of a file in the branch has no `=` in it.
    pub(crate) fn parse(typed: OsString) -> Result<Put, String> {
        let typed = typed.into_vec();
        let mut halves = typed.splitn(2, |byte| *byte == b'=');
        let (Some(to), Some(from)) = (halves.next(), halves.next()) else {
            return Err(
                "there is no '=' between the file in the branch and the one of this machine"
                    .to_owned(),
            );
        };
        let to = Path::parse(to).map_err(|error| error.to_string())?;
        let from = (from != b"-").then(|| PathBuf::from(OsString::from_vec(from.to_vec())));
        match &from {
            Some(from) if from.as_os_str().as_bytes().is_empty() => {
                Err("there is no file behind the '='".to_owned())
            }
            _ => Ok(Put { to, from }),
        }
    }

    /// Its content, and whether it may be executed.
    async fn read(&self) -> Done<(Vec<u8>, bool)> {
        let Some(from) = &self.from else {
            let mut content = Vec::new();
            tokio::io::stdin().read_to_end(&mut content).await.map_err(at(&"standard input"))?;
            return Ok((content, false));
        };
        let shown = from.display();
        let reason = |error: std::io::Error| at(&shown)(datakit_reason(&error));
        let mode = tokio::fs::metadata(from).await.map_err(reason)?.permissions().mode();
        Ok((tokio::fs::read(from).await.map_err(reason)?, mode & 0o100 != 0))
    }
}

/// The system's text without its number, as in the server's errors.
fn datakit_reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

pub(crate) async fn commit(
    db: &Db,
    branch: &str,
    message: &str,
    author: Option<&str>,
    files: &[Put],
) -> Done {
    if files.iter().filter(|file| file.from.is_none()).count() > 1 {
        return Err("standard input can be only one of the files".to_owned());
    }
    // All is read before anything is begun.
    let mut contents = Vec::new();
    for file in files {
        contents.push((&file.to, file.read().await?));
    }
    let branch_handle = db.branch(branch).await.map_err(at(&branch))?;
    let transaction = branch_handle.transaction().await.map_err(at(&branch))?;
    if let Some(author) = author {
        transaction.set_author(&format!("{author}\n")).await.map_err(at(&"author"))?;
    }
    for (to, (content, executable)) in &contents {
        put(&transaction, to, content, *executable).await?;
    }
    let head = transaction.commit(message).await.map_err(at(&branch))?;
    output::print(format!("{}\n", head.id()).as_bytes())
}

async fn put(transaction: &Transaction, to: &Path, content: &[u8], executable: bool) -> Done {
    transaction.make_dirs(&to.parent()).await.map_err(at(&to.parent()))?;
    transaction.create_file(to, content, executable).await.map_err(at(to))
}
