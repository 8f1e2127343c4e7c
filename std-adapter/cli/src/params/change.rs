//! The commands that change parameters.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use datakit_client::params::{Error, Setting, Transaction, format_settings};
use tokio::time::timeout;

use super::Session;
use super::diff::{self, Difference};
use crate::args::SetOptions;
use crate::error::{CliError, CliResult, at, io_reason};
use crate::stdio;

/// Sets parameters. The caller must have checked the values.
pub(super) async fn set(
    session: &Session,
    settings: &[Setting],
    options: &SetOptions,
) -> CliResult {
    let restarting = changed_after_restart(session, settings).await;
    if options.one_by_one || settings.len() == 1 {
        set_one_by_one(session, settings).await?;
    } else {
        set_at_once(session, settings, options.force).await?;
    }
    for path in restarting {
        note(&format!("{path}: the new value takes effect after a restart"));
    }
    Ok(())
}

/// Sets parameters with separate requests. A rule may refuse a value until another parameter has its
/// new value, so refused values are sent again after the others, as long as that helps.
async fn set_one_by_one(session: &Session, settings: &[Setting]) -> CliResult {
    let mut remaining: Vec<&Setting> = settings.iter().collect();
    loop {
        let (mut refused, mut failures) = (Vec::new(), Vec::new());
        for setting in &remaining {
            match session.params.set(&setting.path, &setting.value).await {
                Ok(()) => {}
                Err(error @ Error::Refused { .. }) => {
                    refused.push(*setting);
                    failures.push(CliError::from(error));
                }
                Err(error) => return Err(error.into()),
            }
        }
        if refused.is_empty() || refused.len() == remaining.len() {
            return stdio::report_all(failures);
        }
        remaining = refused;
    }
}

/// Returns the paths of the parameters that take effect only after a restart and whose values are
/// about to change. Only these parameters are read. A value that cannot be read counts as a change.
async fn changed_after_restart<'s>(session: &Session, settings: &'s [Setting]) -> Vec<&'s str> {
    let mut changed = Vec::new();
    for Setting { path, value } in settings {
        let Some(parameter) = session.parameter(path).filter(|one| one.needs_restart) else {
            continue;
        };
        let is_same = !parameter.write_only
            && session.params.get(path).await.is_ok_and(|old| session.is_same(path, &old, value));
        if !is_same {
            changed.push(path.as_str());
        }
    }
    changed
}

/// Prints a note, which is not an error, to standard error.
fn note(text: &str) {
    let text = if io::stderr().is_terminal() { stdio::printable(text) } else { text.to_owned() };
    eprintln!("note: {text}");
}

async fn set_at_once(session: &Session, settings: &[Setting], force: bool) -> CliResult {
    let transaction = session.params.begin().await.map_err(with_hint)?;
    let failures = stage(&transaction, settings).await;
    if !failures.is_empty() {
        // Ignore an error, because the transaction also ends when the connection is closed.
        let _ = transaction.abort().await;
        return stdio::report_all(failures);
    }
    match force {
        true => transaction.commit_force().await?,
        false => transaction.commit().await?,
    }
    Ok(())
}

/// Names the option that helps if the server cannot set the values at once.
fn with_hint(error: Error) -> CliError {
    let is_unable = matches!(error, Error::Missing { .. } | Error::TransactionFull(_));
    let hint = if is_unable { "; --one-by-one sets them one after another" } else { "" };
    CliError::Failed(format!("{error}{hint}"))
}

/// Stages the values in a transaction and returns an error for each rejected value.
async fn stage(transaction: &Transaction, settings: &[Setting]) -> Vec<CliError> {
    let mut failures = Vec::new();
    for Setting { path, value } in settings {
        match transaction.set(path, value).await {
            Ok(()) => {}
            Err(error @ Error::Refused { .. }) => failures.push(error.into()),
            Err(error) => {
                failures.push(with_hint(error));
                return failures;
            }
        }
    }
    failures
}

/// Writes the parameters that differ from their defaults to a file.
pub(super) async fn export(session: &Session, file: &Path) -> CliResult {
    let text = format_settings(&session.params.modified().await?);
    match file.as_os_str() == "-" {
        true => stdio::print(text.as_bytes()),
        false => std::fs::write(file, text).map_err(|error| at(&file.display())(io_reason(&error))),
    }
}

/// Sets parameters to the values in a file.
pub(super) async fn import(
    session: &Session,
    file: &Path,
    yes: bool,
    exact: bool,
    options: &SetOptions,
) -> CliResult {
    if !yes && (file.as_os_str() == "-" || !io::stdin().is_terminal()) {
        return Err(CliError::Failed(
            "standard input is not a terminal, so import cannot ask for confirmation: use --yes"
                .to_owned(),
        ));
    }
    let mut settings = diff::read_file(session, file).await?;
    if exact {
        settings.extend(defaults_of_others(session, &settings).await?);
    }
    let differences = diff::differences(session, &settings).await?;
    diff::print(session, &differences, false)?;
    if differences.is_empty() {
        return Ok(());
    }
    if !yes && !ask(differences.len())? {
        return Err(CliError::Failed("nothing was changed".to_owned()));
    }
    let to_setting = |Difference { path, new, .. }| Setting::new(path, new);
    let settings: Vec<Setting> = differences.into_iter().map(to_setting).collect();
    set(session, &settings, options).await
}

/// Returns the default of each modified parameter that is not in `settings`.
async fn defaults_of_others(session: &Session, settings: &[Setting]) -> CliResult<Vec<Setting>> {
    let (schema, modified) = (session.schema().await?, session.params.modified().await?);
    let is_listed = |path: &str| settings.iter().any(|one| one.path == path);
    let mut defaults = Vec::new();
    for Setting { path, .. } in modified {
        if !is_listed(&path) {
            let default = schema.find(&path)?.default.clone().unwrap_or_default();
            defaults.push(Setting::new(path, default));
        }
    }
    Ok(defaults)
}

/// Asks for confirmation. Returns `true` if the answer is `y` or `yes`.
fn ask(count: usize) -> CliResult<bool> {
    let plural = if count == 1 { "parameter" } else { "parameters" };
    let mut answer = String::new();
    let asked = write!(io::stderr(), "Set {count} {plural}? [y/N] ")
        .and_then(|()| io::stdin().lock().read_line(&mut answer));
    asked.map_err(|error| at(&"standard input")(io_reason(&error)))?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].iter().any(|yes| answer.trim().eq_ignore_ascii_case(yes))
}

/// Resets parameters to their defaults. All paths are checked before the first reset, and a refused
/// reset does not prevent the following ones.
pub(super) async fn reset(session: &Session, typed: &[String]) -> CliResult {
    let (mut resets, mut failures) = (Vec::new(), Vec::new());
    for path in typed.iter().map(|path| session.relative(path)) {
        match session.select(&[path.to_owned()]).await {
            Ok(selected) => resets.push((path, selected)),
            Err(error) => failures.push(error),
        }
    }
    stdio::report_all(failures)?;
    let mut result = Ok(());
    for (path, selected) in resets {
        let line = format!("reset {}", if path.is_empty() { "/" } else { path });
        match session.params.command(&line).await {
            Err(Error::Missing { .. }) if session.schema.is_some() => {
                set_to_defaults(session, &selected).await?;
            }
            Err(error @ Error::Refused { .. }) => result = stdio::report_all([error.into()]),
            reply => print_reply(&reply?)?,
        }
    }
    result
}

/// Resets parameters to the defaults in the schema, for servers without a `ctl` file.
async fn set_to_defaults(session: &Session, paths: &[String]) -> CliResult {
    let to_setting = |path: &String| {
        let parameter = session.parameter(path).filter(|parameter| !parameter.read_only)?;
        Some(Setting::new(path, parameter.default.clone()?))
    };
    let settings: Vec<Setting> = paths.iter().filter_map(to_setting).collect();
    let options = SetOptions { force: true, one_by_one: false };
    set(session, &settings, &options).await
}

/// Stores parameter values.
pub(super) async fn save(session: &Session, typed: &[String]) -> CliResult {
    if typed.is_empty() {
        return command(session, "save").await;
    }
    for path in typed {
        let path = session.relative(path);
        session.select(&[path.to_owned()]).await?;
        let path = if path.is_empty() { "/" } else { path };
        command(session, &format!("save {path}")).await?;
    }
    Ok(())
}

/// The time after which the user is told why there is no reply yet.
const NOTE_AFTER: Duration = Duration::from_secs(1);

/// Sends a command to the storage of the device and prints the reply.
pub(super) async fn command(session: &Session, command: &str) -> CliResult {
    let mut reply = pin!(session.params.command(command));
    let reply = match timeout(NOTE_AFTER, &mut reply).await {
        Ok(reply) => reply,
        Err(_) => {
            note(&format!("{command}: waiting, because the device limits how often it saves"));
            reply.await
        }
    };
    print_reply(&reply?)
}

fn print_reply(reply: &str) -> CliResult {
    if reply.is_empty() {
        return Ok(());
    }
    stdio::print(format!("{}\n", stdio::line(reply)).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_y_and_yes_confirm() {
        for answer in ["y\n", "Y", "yes\r\n", " YES "] {
            assert!(is_yes(answer), "{answer:?}");
        }
        for answer in ["", "\n", "n", "no", "yikes", "ye", "y y"] {
            assert!(!is_yes(answer), "{answer:?}");
        }
    }
}
