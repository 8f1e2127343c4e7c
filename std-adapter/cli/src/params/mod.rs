//! The `datakit params` command, which works with a device's parameters.

mod change;
mod diff;
mod list;
mod values;
mod watch;

use datakit_client::params::{Error, Parameter, Params, Schema, Setting};
use datakit_client::{Client, FileType};

use crate::args::{Connection, ParamsArgs, ParamsCommand};
use crate::connect::with_client;
use crate::error::{CliError, CliResult};
use crate::stdio;

/// Connects to the server and runs a command.
pub(crate) async fn run(connection: Connection, args: ParamsArgs) -> CliResult {
    with_client(&connection, async |client| {
        let session = Session::start(client, &args).await?;
        dispatch(&session, args.command).await
    })
    .await
}

async fn dispatch(session: &Session, command: ParamsCommand) -> CliResult {
    match command {
        ParamsCommand::List { names: true, paths, .. } => list::names(session, &paths).await,
        ParamsCommand::List { json: true, paths, .. } => list::json(session, &paths).await,
        ParamsCommand::List { long, paths, .. } => list::list(session, &paths, long).await,
        ParamsCommand::Get { json, paths } => list::get(session, &paths, json).await,
        ParamsCommand::Set { options, settings } => {
            let settings = session.checked(settings.into_iter().map(|one| (String::new(), one)))?;
            change::set(session, &settings, &options).await
        }
        ParamsCommand::Diff { json, file: None } => diff::from_defaults(session, json).await,
        ParamsCommand::Diff { json, file: Some(file) } => {
            diff::from_file(session, &file, json).await
        }
        ParamsCommand::Modified { json } => list::modified(session, json).await,
        ParamsCommand::Export { file } => change::export(session, &file).await,
        ParamsCommand::Import { yes, exact, options, file } => {
            change::import(session, &file, yes, exact, &options).await
        }
        ParamsCommand::Reset { paths } => change::reset(session, &paths).await,
        ParamsCommand::Save { paths } => change::save(session, &paths).await,
        ParamsCommand::Load => change::command(session, "load").await,
        ParamsCommand::Erase => change::command(session, "erase").await,
        ParamsCommand::Schema { id: true } => {
            stdio::print(format!("{}\n", session.params.schema_id().await?).as_bytes())
        }
        ParamsCommand::Schema { id: false } => {
            stdio::print(session.params.schema_text().await?.as_bytes())
        }
        ParamsCommand::Watch { json, paths } => watch::watch(session, &paths, json).await,
    }
}

/// A connection to a server's parameters, and their description.
struct Session {
    params: Params,
    dir: String,
    /// The description, or `None` if the server has none.
    schema: Option<Schema>,
}

impl Session {
    async fn start(client: &Client, args: &ParamsArgs) -> CliResult<Session> {
        let params = Params::new(client.clone(), &args.dir);
        let schema = match params.schema().await {
            Ok(schema) => Some(schema),
            Err(Error::Missing { .. }) => {
                check_dir(client, &args.dir).await?;
                None
            }
            Err(error) => {
                if matches!(&error, Error::Client { error, .. } if error.errno() == Some(ENOTDIR)) {
                    check_dir(client, &args.dir).await?;
                }
                return Err(error.into());
            }
        };
        Ok(Session { params, dir: args.dir.trim_end_matches('/').to_owned(), schema })
    }

    /// Returns the description.
    ///
    /// # Errors
    /// Returns an error that names the missing file if the server has no description.
    async fn schema(&self) -> CliResult<Schema> {
        match &self.schema {
            Some(schema) => Ok(schema.clone()),
            None => Ok(self.params.schema().await?),
        }
    }

    /// Returns the description of one parameter, if the server describes it.
    fn parameter(&self, path: &str) -> Option<&Parameter> {
        self.schema.as_ref()?.find(path).ok()
    }

    /// Converts `typed` to a path relative to the parameter directory. The user can also type an
    /// absolute path on the server, such as `/params/blink/period`.
    fn relative<'p>(&self, typed: &'p str) -> &'p str {
        let is_end = |rest: &&str| rest.is_empty() || rest.starts_with('/');
        let below = typed.strip_prefix(&self.dir).filter(is_end);
        below.filter(|_| typed.starts_with('/')).unwrap_or(typed).trim_matches('/')
    }

    /// Returns the paths of all parameters selected by the paths in `typed`, without duplicates.
    async fn select(&self, typed: &[String]) -> CliResult<Vec<String>> {
        let all = [String::new()];
        let typed = if typed.is_empty() { &all } else { typed };
        let mut paths: Vec<String> = Vec::new();
        let walked = match &self.schema {
            Some(_) => Vec::new(),
            None => self.params.walk().await?,
        };
        for path in typed.iter().map(|path| self.relative(path)) {
            let selected: Vec<String> = match &self.schema {
                Some(schema) => {
                    schema.select(path)?.into_iter().map(|one| one.path.clone()).collect()
                }
                None => walked.iter().filter(|walked| is_within(walked, path)).cloned().collect(),
            };
            if selected.is_empty() && !path.is_empty() {
                return Err(Error::UnknownParameter { path: path.into(), similar: None }.into());
            }
            for path in selected {
                if !paths.contains(&path) {
                    paths.push(path);
                }
            }
        }
        Ok(paths)
    }

    /// Checks settings against the schema and returns them with relative paths. Each setting comes
    /// with the place that an error names, for example `board.txt: line 2: `, or with an empty
    /// text.
    ///
    /// # Errors
    /// Prints every invalid setting and returns [`CliError::Reported`].
    fn checked(
        &self,
        settings: impl Iterator<Item = (String, Setting)>,
    ) -> CliResult<Vec<Setting>> {
        let (mut checked, mut failures) = (Vec::<Setting>::new(), Vec::new());
        for (place, Setting { path, value }) in settings {
            let setting = Setting::new(self.relative(&path), value);
            if checked.iter().any(|other| other.path == setting.path) {
                failures.push(format!("{place}{}: given twice", setting.path));
            }
            failures.extend(self.check(&setting).err().map(|error| format!("{place}{error}")));
            checked.push(setting);
        }
        stdio::report_all(failures.into_iter().map(CliError::Failed)).map(|()| checked)
    }

    /// Checks one setting against the schema.
    fn check(&self, Setting { path, value }: &Setting) -> Result<(), String> {
        let checked = match &self.schema {
            Some(schema) => schema.find(path).and_then(|parameter| parameter.check(value)),
            None if path.contains('=') => {
                Err(Error::UnknownParameter { path: path.clone(), similar: None })
            }
            None => Ok(()),
        };
        checked.map_err(|error| match error {
            // `set` splits its operands at the first `=`, so this path comes from a file.
            Error::UnknownParameter { .. } if path.contains('=') => {
                let line = format!("{path} {value}");
                format!("{:?} is not of the form PATH VALUE", line.trim_end())
            }
            error => error.to_string(),
        })
    }
}

/// Returns an error if the parameter directory does not exist or is not a directory.
async fn check_dir(client: &Client, dir: &str) -> CliResult {
    let reason = match client.stat(dir).await {
        Ok(stat) if stat.kind == FileType::Dir => return Ok(()),
        Ok(_) => "Not a directory".to_owned(),
        Err(error) if error.errno() == Some(ENOTDIR) => "Not a directory".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(CliError::Failed(format!("{dir}: {reason} (--dir is the parameter directory)")))
}

/// The error number for a path that continues below a file.
const ENOTDIR: u32 = 20;

/// Returns `true` if `path` is `dir` or is below `dir`.
fn is_within(path: &str, dir: &str) -> bool {
    let rest = path.strip_prefix(dir);
    dir.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl From<Error> for CliError {
    fn from(error: Error) -> CliError {
        CliError::Failed(error.to_string())
    }
}
