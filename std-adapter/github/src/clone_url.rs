//! The URL from which a repository can be cloned.

use datakit_client::db::{Error, Result, TransactionExt, TransactionOps, TreeExt, TreeOps};

use crate::{Repo, layout};

/// The maximum length of a URL in bytes.
const LENGTH_MAX: u64 = 4096;

/// Reads the URL from which a repository can be cloned. Returns `None` if no bridge has written the
/// URL, or if the file is not UTF-8 or is longer than 4096 bytes. The caller must check that the
/// URL is safe, because every client of the database can write the file.
///
/// # Errors
/// Returns any error reported by the database, except [`Error::NotFound`].
pub async fn read_clone_url<T: TreeOps>(tree: &T, repo: &Repo) -> Result<Option<String>> {
    match tree.read_file_up_to(&layout::clone_url(repo), LENGTH_MAX).await {
        Ok(bytes) => {
            let text = std::str::from_utf8(bytes.trim_ascii()).ok();
            Ok(text.filter(|text| !text.is_empty()).map(str::to_owned))
        }
        Err(Error::NotFound | Error::FileTooLong { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes the URL from which a repository can be cloned. Does nothing if the file already contains
/// the URL.
///
/// # Errors
/// Returns any error reported by the database.
pub async fn write_clone_url<T: TransactionOps>(
    transaction: &T,
    repo: &Repo,
    url: &str,
) -> Result<()> {
    if read_clone_url(&transaction.tree(), repo).await?.as_deref() == Some(url) {
        return Ok(());
    }
    let text = format!("{url}\n");
    transaction.write_file(&layout::clone_url(repo), text.as_bytes()).await
}
