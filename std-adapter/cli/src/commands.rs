//! The commands of the client, each in a few calls of the library.

use std::fmt::Display;
use std::time::Duration;

use datakit_client::{Client, Dialect, Error, Listing, Metadata, Options, Watch};
use tokio::io::AsyncReadExt;

use crate::args::{ClientCommand, Connection};
use crate::path::{Place, ServerPath};
use crate::{copy, output};

/// What the person who typed it is told, without the program's name.
pub(crate) type Done<T = ()> = Result<T, String>;

/// Puts the path in front of the reason.
pub(crate) fn at<E: Display>(path: &impl Display) -> impl Fn(E) -> String {
    move |error| format!("{path}: {error}")
}

pub(crate) async fn run(connection: Connection, command: ClientCommand) -> Done {
    // Only 9P2000.L replaces a name in a rename and moves a file to another directory.
    let linux = matches!(command, ClientCommand::Mv { .. } | ClientCommand::Cp { .. });
    let preferred = if linux { Dialect::Linux } else { Dialect::Unix };
    connected(connection, preferred, async |client| one(client, command).await).await
}

/// Connects, does it, and closes the connection.
pub(crate) async fn connected(
    connection: Connection,
    preferred: Dialect,
    command: impl AsyncFnOnce(&Client) -> Done,
) -> Done {
    let Connection { address, dialect, timeout } = connection;
    let options = Options::default().timeout(Duration::from_secs(timeout));
    let options = match dialect {
        Some(dialect) => options.dialect(dialect.into()),
        None => options.prefer(preferred),
    };
    let client = Client::connect(&address, options).await.map_err(|error| match error {
        Error::Lost(why) => format!("{address}: {why}"),
        other => format!("{address}: {other}"),
    })?;
    let done = command(&client).await;
    // A program that ends at once would leave the server with a connection that was reset.
    let _ = tokio::time::timeout(PATIENCE, client.close()).await;
    done
}

async fn one(client: &Client, command: ClientCommand) -> Done {
    match command {
        ClientCommand::Ls { long, json, path } => ls(client, &path, long, json).await,
        ClientCommand::Cat { paths } => each(paths, async |path| cat(client, path).await).await,
        ClientCommand::Write { path, text } => {
            write(client, &path, text.map(std::ffi::OsString::into_encoded_bytes)).await
        }
        ClientCommand::Stat { json, path } => stat(client, &path, json).await,
        ClientCommand::Tree { json, path } => tree(client, &path, json).await,
        ClientCommand::Mkdir { paths } => {
            each(paths, async |path| client.mkdir(path, 0o777).await.map_err(at(path))).await
        }
        ClientCommand::Rm { recursive, paths } => {
            each(paths, async |path| rm(client, path, recursive).await).await
        }
        ClientCommand::Mv { from, to } => mv(client, &from, to).await,
        ClientCommand::Watch { path } => watch(client, &path).await,
        ClientCommand::Cp { recursive, from, to } => copy::cp(client, &from, &to, recursive).await,
    }
}

/// Goes on after an error. All but the last one are printed here, the last one is left to the
/// caller.
async fn each(paths: Vec<ServerPath>, one: impl AsyncFn(&ServerPath) -> Done) -> Done {
    let mut failed = None;
    for path in paths {
        let Err(text) = one(&path).await else { continue };
        if text == output::BROKEN_PIPE {
            return Err(text);
        }
        if let Some(before) = failed.replace(text) {
            output::complain(&before);
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn ls(client: &Client, path: &ServerPath, long: bool, json: bool) -> Done {
    let Listing { mut files, failed, .. } = match client.list_all(path).await {
        Ok(listing) => listing,
        // The file itself: it is no directory.
        Err(error) if error.errno() == Some(20) => {
            let metadata = client.stat(path).await.map_err(at(path))?;
            output::print_files(vec![output::named(metadata, path)], long, json)?;
            return Ok(());
        }
        Err(error) => return Err(at(path)(error)),
    };
    files.sort_by(|a, b| a.name.cmp(&b.name));
    output::print_files(files, long, json)?;
    // Names alone are all there, whatever they stand for.
    let failed = failed.into_iter().filter(|_| long || json);
    complaints(failed.map(|(name, error)| at(&path.join(&name))(error)))
}

/// Prints all but the last one, which is left to the caller.
pub(crate) fn complaints(failed: impl IntoIterator<Item = String>) -> Done {
    let mut failed: Vec<_> = failed.into_iter().collect();
    let last = failed.pop();
    failed.iter().for_each(|text| output::complain(text));
    last.map_or(Ok(()), Err)
}

async fn cat(client: &Client, path: &ServerPath) -> Done {
    let file = client.open_to_read(path).await.map_err(at(path))?;
    let mut chunks = file.chunks();
    while let Some(data) = chunks.next().await.map_err(at(path))? {
        output::print(&data)?;
    }
    Ok(())
}

async fn write(client: &Client, path: &ServerPath, text: Option<Vec<u8>>) -> Done {
    let content = match text {
        Some(text) if text != b"-" => text,
        _ => {
            let mut content = Vec::new();
            tokio::io::stdin().read_to_end(&mut content).await.map_err(at(&"standard input"))?;
            content
        }
    };
    client.write(path, &content).await.map_err(at(path))
}

async fn stat(client: &Client, path: &ServerPath, json: bool) -> Done {
    let metadata = output::named(client.stat(path).await.map_err(at(path))?, path);
    if json {
        return output::print_json(&output::json(&metadata));
    }
    output::print(&output::all(&metadata))
}

/// The most files that are shown in one tree.
const MAX_TREE: usize = 1 << 20;

/// A directory with everything below it.
pub(crate) struct Branch {
    pub(crate) metadata: Metadata,
    pub(crate) below: Vec<Branch>,
}

async fn tree(client: &Client, path: &ServerPath, json: bool) -> Done {
    let metadata = output::named(client.stat(path).await.map_err(at(path))?, path);
    let (mut failed, mut left) = (Vec::new(), MAX_TREE);
    let branch = branch(client, path, metadata, &mut failed, &mut left).await?;
    if json {
        output::print_json(&output::json_tree(&branch))?;
    } else {
        output::print(&output::tree(&branch))?;
    }
    complaints(failed)
}

/// Goes on after what the server refuses below the top.
///
/// `left` is how many more files there may be.
async fn branch(
    client: &Client,
    path: &ServerPath,
    metadata: Metadata,
    failed: &mut Vec<String>,
    left: &mut usize,
) -> Done<Branch> {
    bounded(path)?;
    let mut below = Vec::new();
    if metadata.is_dir() {
        let mut files = match client.list_all(path).await {
            Ok(Listing { files, failed: names, .. }) => {
                failed.extend(names.into_iter().map(|(name, error)| at(&path.join(&name))(error)));
                files
            }
            Err(error @ Error::Server { .. }) => {
                failed.push(at(path)(error));
                Vec::new()
            }
            Err(error) => return Err(at(path)(error)),
        };
        files.sort_by(|a, b| a.name.cmp(&b.name));
        *left = left
            .checked_sub(files.len())
            .ok_or_else(|| format!("{path}: more than {MAX_TREE} files in the tree"))?;
        for file in files {
            let path = path.join(&file.name);
            below.push(Box::pin(branch(client, &path, file, failed, left)).await?);
        }
    }
    Ok(Branch { metadata, below })
}

/// Deeper trees are taken for endless ones.
pub(crate) fn bounded(path: &impl Display) -> Done {
    let path = path.to_string();
    if path.matches('/').count() > 256 {
        Err(format!("{path}: File name too long"))
    } else {
        Ok(())
    }
}

async fn rm(client: &Client, path: &ServerPath, recursive: bool) -> Done {
    bounded(path)?;
    let metadata = client.stat(path).await.map_err(at(path))?;
    if metadata.is_dir() && !recursive {
        return Err(format!("{path}: Is a directory"));
    }
    match client.remove(path).await {
        // Tried first: some directories go as a whole, and what they show cannot be removed one by
        // one.
        Err(error) if metadata.is_dir() && error.errno().is_none_or(|errno| errno == 39) => {
            for entry in client.read_dir(path).await.map_err(at(path))? {
                Box::pin(rm(client, &path.join(&entry.name), true)).await?;
            }
            client.remove(path).await.map_err(at(path))
        }
        other => other.map_err(at(path)),
    }
}

async fn mv(client: &Client, from: &ServerPath, to: ServerPath) -> Done {
    let to = match client.stat(&to).await {
        Ok(metadata) if metadata.is_dir() => to.join(from.last()),
        _ => to,
    };
    match client.rename(from, &to).await {
        // 9P2000 and .u have no request for it.
        Err(error)
            if error.errno() == Some(18)
                && !client.stat(from).await.map_err(at(from))?.is_dir() =>
        {
            copy::cp(client, &Place::Server(from.clone()), &Place::Server(to), false).await?;
            client.remove(from).await.map_err(at(from))
        }
        other => other.map_err(at(from)),
    }
}

/// How long the server may take to answer what ends a command.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

async fn watch(client: &Client, path: &ServerPath) -> Done {
    let mut stream = client.watch(path).await.map_err(at(path))?;
    let done = tokio::select! {
        done = follow(&mut stream, path) => done,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    // There is nobody to tell when that fails.
    let _ = tokio::time::timeout(PATIENCE, stream.close()).await;
    done
}

async fn follow(stream: &mut Watch, path: &ServerPath) -> Done {
    while let Some(text) = stream.next().await.map_err(at(path))? {
        output::print(&text)?;
    }
    Ok(())
}
