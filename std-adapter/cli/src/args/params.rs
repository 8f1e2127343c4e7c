//! The arguments of `datakit params`.

use std::path::PathBuf;

use clap::builder::{StringValueParser, TypedValueParser};
use clap::{Args, Subcommand, ValueHint};
use datakit_client::params::Setting;

pub(super) const EXAMPLES: &str = "\
Examples:
  datakit params -a board.local:564 list -l
  datakit params set limits/low=10 limits/high=20
  datakit params export board.txt
  datakit params import board.txt
  datakit params watch blink

PATH is the path of a parameter in the directory DIR, or of a directory that contains parameters.";

/// The option and the subcommand of `datakit params`.
#[derive(Args, Debug)]
pub(crate) struct ParamsArgs {
    /// The parameter directory on the server
    #[arg(long, global = true, default_value = "/params")]
    pub(crate) dir: String,
    #[command(subcommand)]
    pub(crate) command: ParamsCommand,
}

/// The subcommands of `datakit params`.
#[derive(Subcommand, Debug)]
pub(crate) enum ParamsCommand {
    /// List parameters with their values and units
    List {
        /// Also print the allowed values, the default, the flags and the description
        #[arg(short)]
        long: bool,
        /// Print only the paths
        #[arg(long, conflicts_with_all = ["long", "json"])]
        names: bool,
        /// Print a JSON array with all properties
        #[arg(long, conflicts_with = "long")]
        json: bool,
        /// The parameters or directories [default: all parameters]
        #[arg(value_name = "PATH", value_hint = PARAMETER)]
        paths: Vec<String>,
    },
    /// Print parameter values
    ///
    /// If PATH is a single parameter, prints only the value. Otherwise, prints lines of the form
    /// `PATH VALUE`.
    Get {
        /// Print a JSON object that maps each path to its value
        #[arg(long)]
        json: bool,
        /// The parameters or directories
        #[arg(required = true, value_name = "PATH", value_hint = PARAMETER)]
        paths: Vec<String>,
    },
    /// Set one or more parameters
    ///
    /// The command checks all values against the schema before it sends the first one. Multiple
    /// values are set in one transaction. If the transaction fails, none of the parameters are set.
    /// The transaction fails if another client changes one of the parameters at the same time.
    Set {
        #[command(flatten)]
        options: SetOptions,
        /// A parameter and its new value, for example blink/period=500
        #[arg(
            required = true,
            value_name = "PATH=VALUE",
            value_hint = PARAMETER,
            value_parser = StringValueParser::new().try_map(parse_setting)
        )]
        settings: Vec<Setting>,
    },
    /// Print the parameters whose values differ from their defaults, or from the values in a file
    ///
    /// Each line has the form `PATH OLD -> NEW`. Without FILE, OLD is the default and NEW is the
    /// value. With FILE, OLD is the value and NEW is the value in FILE, which `import` would set.
    Diff {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
        /// A file from `export`, or - for standard input
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
    /// Print lines of the form `PATH VALUE` for the parameters that differ from their defaults
    Modified {
        /// Print a JSON object that maps each path to its value
        #[arg(long)]
        json: bool,
    },
    /// Save the parameters that differ from their defaults to a file on this machine
    Export {
        /// The file, or - for standard output
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Set parameters to the values in a file, after confirmation
    ///
    /// The file contains lines of the form `PATH VALUE`, as `export` writes them. Empty lines and
    /// lines that start with # are ignored. The command prints the differences, asks for
    /// confirmation, and then sets all values in one transaction. Parameters that are not in the
    /// file are left unchanged. Without confirmation, nothing is changed, and the exit status is 1.
    Import {
        /// Do not ask for confirmation
        #[arg(short, long)]
        yes: bool,
        /// Reset all parameters that are not in the file to their defaults, except write-only ones
        ///
        /// Write-only parameters, such as passwords, keep their values, because `export` cannot
        /// write them to the file.
        #[arg(long)]
        exact: bool,
        #[command(flatten)]
        options: SetOptions,
        /// The file, or - for standard input, which requires --yes
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Reset parameters to their defaults
    ///
    /// The command checks all paths before the first reset. Each PATH is reset separately: if the
    /// device refuses to reset one, the others are reset nevertheless.
    Reset {
        /// The parameters or directories; / for all parameters
        #[arg(required = true, value_name = "PATH", value_hint = PARAMETER)]
        paths: Vec<String>,
    },
    /// Save parameter values to nonvolatile storage
    Save {
        /// The parameters or directories [default: all parameters]
        #[arg(value_name = "PATH", value_hint = PARAMETER)]
        paths: Vec<String>,
    },
    /// Set all parameters to their stored values
    Load,
    /// Erase all stored values
    Erase,
    /// Print the description of all parameters as JSON
    Schema {
        /// Print the hash of the description instead
        #[arg(long)]
        id: bool,
    },
    /// Print each parameter change until interrupted
    ///
    /// Each line has the form `SEQUENCE CLIENT PATH VALUE`. The client is `program` if the device's
    /// own program set the parameter. If the device drops N changes because the client reads too
    /// slowly, a `lost N` line is printed in their place.
    Watch {
        /// Print each change as a JSON object on one line
        #[arg(long)]
        json: bool,
        /// The parameters or directories [default: all parameters]
        #[arg(value_name = "PATH", value_hint = PARAMETER)]
        paths: Vec<String>,
    },
}

/// Marks arguments that are parameter paths. The completion scripts request these paths from the
/// server.
pub(crate) const PARAMETER: ValueHint = ValueHint::Other;

/// The options of `set` and `import`.
#[derive(Args, Debug)]
pub(crate) struct SetOptions {
    /// Set the parameters even if another client changes one of them in the meantime
    #[arg(short, long, conflicts_with = "one_by_one")]
    pub(crate) force: bool,
    /// Set each parameter with a separate request, for example if the device has no transactions
    ///
    /// If the device refuses a value, the other parameters are set, and the refused value is then
    /// sent again, because a rule may require that another parameter is changed first.
    #[arg(long)]
    pub(crate) one_by_one: bool,
}

/// Splits `PATH=VALUE` at the first `=`.
fn parse_setting(typed: String) -> Result<Setting, String> {
    match typed.split_once('=') {
        Some((path, value)) if !path.is_empty() => Ok(Setting::new(path, value)),
        Some(_) => Err("there is no path before the '='".to_owned()),
        None => Err("there is no '=': use PATH=VALUE, for example blink/period=500".to_owned()),
    }
}
