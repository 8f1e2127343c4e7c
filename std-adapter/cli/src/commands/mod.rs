//! The client commands for working with files.

mod list;
mod metadata;
mod remove;
mod walk;
mod watch;

use std::ffi::OsString;

use datakit_client::{Client, Error, OpenMode, Qid};

pub(crate) use self::list::ls;
use crate::args::{ClientCommand, Connection};
use crate::connect::with_client;
use crate::copy;
use crate::error::{CliError, CliResult, at, is_a_directory};
use crate::operand::{Location, ServerPath};
use crate::rename::Renames;
use crate::stdio::{for_each, print_file, read_stdin};

/// Connects to the server and runs a command.
pub(crate) async fn run(connection: Connection, command: ClientCommand) -> CliResult {
    let renames = Renames::new(&connection);
    let run = async |client: &Client| dispatch(client, &renames, command).await;
    let result = with_client(&connection, run).await;
    renames.close().await;
    result
}

async fn dispatch(client: &Client, renames: &Renames, command: ClientCommand) -> CliResult {
    match command {
        ClientCommand::Ls { options, paths } => ls(client, &paths, &options).await,
        ClientCommand::Cat { paths } => {
            for_each(&paths, async |path| print_file(client, path).await).await
        }
        ClientCommand::Stat { json, paths } => list::stat(client, &paths, json).await,
        ClientCommand::Tree { json, path } => walk::tree(client, &path, json).await,
        ClientCommand::Find { name, kind, maxdepth, paths } => {
            let find = walk::Find::new(client, name, kind, maxdepth);
            for_each(&paths, async |path| find.run(path).await).await
        }
        ClientCommand::Du { summarize, human_readable, bytes, paths } => {
            let du = walk::DiskUsage { client, summarize, human_readable, bytes };
            for_each(&paths, async |path| du.run(path).await).await
        }
        ClientCommand::Write { path, text } => write(client, &path, &content(text).await?).await,
        ClientCommand::Append { path, text } => append(client, &path, &content(text).await?).await,
        ClientCommand::Mkdir { parents, paths } => {
            for_each(&paths, async |path| match parents {
                true => make_dirs(client, path).await,
                false => client.mkdir(path, 0o777).await.map_err(at(path)),
            })
            .await
        }
        ClientCommand::Rm { recursive, force, paths } => {
            for_each(&paths, async |path| remove::rm(client, path, recursive, force).await).await
        }
        ClientCommand::Mv { sources, target } => mv(client, renames, &sources, &target).await,
        ClientCommand::Cp { recursive, sources, target } => {
            copy::cp(client, renames, &sources, &target, recursive).await
        }
        ClientCommand::Watch { path } => watch::watch(client, &path).await,
    }
}

/// Returns `text`, or the content of standard input if `text` is absent or `-`.
async fn content(text: Option<OsString>) -> CliResult<Vec<u8>> {
    match text.map(OsString::into_encoded_bytes) {
        Some(text) if text != b"-" => Ok(text),
        _ => read_stdin().await,
    }
}

async fn write(client: &Client, path: &ServerPath, text: &[u8]) -> CliResult {
    match client.write(path, text).await {
        Ok(()) => Ok(()),
        Err(error) => Err(not_written(client, path, error).await),
    }
}

/// Returns the error for a file that could not be written or created. If the file does not exist,
/// the error says so, because the path may be misspelled.
async fn not_written(client: &Client, path: &ServerPath, error: Error) -> CliError {
    let is_missing = matches!(error, Error::Server { .. })
        && !error.is_not_found()
        && client.stat(path).await.is_err_and(|error| error.is_not_found());
    match is_missing {
        true => at(path)(format!("the file does not exist and cannot be created: {error}")),
        false => at(path)(error),
    }
}

async fn append(client: &Client, path: &ServerPath, text: &[u8]) -> CliResult {
    let append = async {
        let file = match client.walk(path).await {
            // Directories are detected explicitly, because some servers allow them to be opened for
            // writing.
            Ok(fid) if fid.qid().kind & Qid::DIR != 0 => return Ok(false),
            Ok(fid) => fid.open(OpenMode::WRITE).await?,
            Err(error) if error.is_not_found() => {
                client.create(path, 0o666, OpenMode::WRITE).await?
            }
            Err(error) => return Err(error),
        };
        let length = file.stat().await?.len;
        file.write_all_at(length, text).await?;
        file.close().await?;
        Ok(true)
    };
    match append.await {
        Ok(true) => Ok(()),
        Ok(false) => Err(is_a_directory(path)),
        Err(error) => Err(not_written(client, path, error).await),
    }
}

/// Creates a directory and any missing parents, like `mkdir -p`.
async fn make_dirs(client: &Client, path: &ServerPath) -> CliResult {
    let error = match client.mkdir(path, 0o777).await {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    if client.stat(path).await.is_ok_and(|metadata| metadata.is_dir()) {
        return Ok(());
    }
    if !error.is_not_found() || path.last().is_empty() {
        return Err(at(path)(error));
    }
    Box::pin(make_dirs(client, &path.parent())).await?;
    client.mkdir(path, 0o777).await.map_err(at(path))
}

async fn mv(
    client: &Client,
    renames: &Renames,
    sources: &[ServerPath],
    target: &ServerPath,
) -> CliResult {
    let is_dir = client.stat(target).await.is_ok_and(|metadata| metadata.is_dir());
    if sources.len() > 1 && !is_dir {
        return Err(at(target)("not a directory: multiple files can only be moved to one"));
    }
    for_each(sources, async |source| match is_dir {
        true => rename(client, renames, source, target.join(source.last())).await,
        false => rename(client, renames, source, target.clone()).await,
    })
    .await
}

async fn rename(
    client: &Client,
    renames: &Renames,
    from: &ServerPath,
    to: ServerPath,
) -> CliResult {
    match renames.rename(client, from, &to).await {
        // 9P2000 and 9P2000.u cannot move a file to another directory (EXDEV), so copy the file and
        // remove the original.
        Err(error) if error.errno() == Some(18) => {
            if client.stat(from).await.map_err(at(from))?.is_dir() {
                return Err(at(from)(error));
            }
            let (source, target) = (Location::Server(from.clone()), Location::Server(to));
            copy::cp(client, renames, &[source], &target, false).await?;
            client.remove(from).await.map_err(at(from))
        }
        other => other.map_err(at(from)),
    }
}
