//! The `datakit ls` and `datakit stat` commands.

use datakit_client::{Client, Listing, Metadata};

use super::metadata::{facts, long, short, sort_by_name, to_json, with_name};
use crate::args::LsArgs;
use crate::error::{CliError, CliResult, at};
use crate::operand::ServerPath;
use crate::stdio::{self, report_all};

/// The result of looking up one operand of `ls`.
enum ListedOperand {
    File(Metadata),
    Dir(Listing),
}

/// Lists the file operands, followed by the contents of each directory operand.
pub(crate) async fn ls(client: &Client, paths: &[ServerPath], options: &LsArgs) -> CliResult {
    let (mut files, mut dirs, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for path in paths {
        match look_up(client, path, options).await {
            // If there are multiple operands, show full paths to distinguish files with the same
            // name.
            Ok(ListedOperand::File(mut file)) => {
                if !path.last().is_empty() && (paths.len() > 1 || options.directory) {
                    file.name = path.as_ref().into();
                }
                files.push(file);
            }
            Ok(ListedOperand::Dir(dir)) => dirs.push((path, dir)),
            Err(failure) => failures.push(failure),
        }
    }
    let mut is_first = files.is_empty();
    if options.json {
        files.extend(dirs.iter().flat_map(|(_, dir)| dir.files.iter().cloned()));
        stdio::print_json(&files.iter().map(to_json).collect())?;
    } else if !files.is_empty() {
        print(&files, options)?;
    }
    for (path, dir) in dirs {
        if !options.json {
            if paths.len() > 1 {
                let blank = if is_first { "" } else { "\n" };
                stdio::print(format!("{blank}{}:\n", stdio::line(&path.to_string())).as_bytes())?;
            }
            is_first = false;
            print(&dir.files, options)?;
        }
        // Missing metadata is an error only if the output includes more than the names.
        if options.long || options.json {
            failures
                .extend(dir.failed.into_iter().map(|(name, error)| at(&path.join(&name))(error)));
        }
    }
    report_all(failures)
}

async fn look_up(client: &Client, path: &ServerPath, options: &LsArgs) -> CliResult<ListedOperand> {
    if options.directory {
        let metadata = client.stat(path).await.map_err(at(path))?;
        return Ok(ListedOperand::File(with_name(metadata, path)));
    }
    match client.list_all(path).await {
        Ok(mut dir) => {
            let is_shown = |file: &Metadata| {
                options.all || options.json || !file.name.as_bytes().starts_with(b".")
            };
            dir.files.retain(is_shown);
            sort_by_name(&mut dir.files);
            Ok(ListedOperand::Dir(dir))
        }
        // If the operand is not a directory (ENOTDIR), list the file itself.
        Err(error) if error.errno() == Some(20) => {
            let metadata = client.stat(path).await.map_err(at(path))?;
            Ok(ListedOperand::File(with_name(metadata, path)))
        }
        Err(error) => Err(at(path)(error)),
    }
}

fn print(files: &[Metadata], options: &LsArgs) -> CliResult {
    stdio::print(&if options.long { long(files, options.human_readable) } else { short(files) })
}

/// Prints the metadata of each file.
pub(super) async fn stat(client: &Client, paths: &[ServerPath], json: bool) -> CliResult {
    let (mut found, mut failures) = (Vec::new(), Vec::<CliError>::new());
    for path in paths {
        match client.stat(path).await {
            Ok(metadata) => found.push(with_name(metadata, path)),
            Err(error) => failures.push(at(path)(error)),
        }
    }
    if !json {
        let texts: Vec<Vec<u8>> = found.iter().map(facts).collect();
        stdio::print(&texts.join(&b'\n'))?;
    } else if paths.len() > 1 {
        stdio::print_json(&found.iter().map(to_json).collect())?;
    } else if let Some(file) = found.first() {
        stdio::print_json(&to_json(file))?;
    }
    report_all(failures)
}
