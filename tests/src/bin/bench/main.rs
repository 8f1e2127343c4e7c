//! The `bench` command, which compares the server with a baseline server that does no real work.
//!
//! The server and the baseline server take turns, pinned to one CPU. Every budget is a share: the
//! server's speed divided by the baseline server's speed, both measured with the same client.
//! Absolute speeds depend too much on the machine. The program requires Linux.

mod client;
mod db;
mod floor;
mod load;
mod process;
mod ready;
mod report;
mod wire;
mod workload;

use std::{env, path::PathBuf, process::ExitCode, time::Duration};

use process::ServerProcess;
use report::{Pair, Row};
use workload::{WORKLOADS, Workload};

/// A result whose error is a message for the user.
pub(crate) type Res<T> = Result<T, String>;

const HELP: &str = "\
bench: compares the 9P server with a baseline server that does no real work (9P2000.L, TCP on loopback, one CPU)

  bench [options]          starts and measures `datakit serve --scratch` and the baseline server; the program `datakit`
                           is at the path DATAKIT_BIN or in the same directory as this program
  bench floor [--single]   runs only the baseline server, with one thread per connection or a single thread
  bench db [options]       compares the database with `git`; accepts the options --rounds, --secs, --only, --on, --cpu,
                           --quick and --check

  --rounds N        measure both sides alternately N times and print the medians (default 5)
  --secs S          the length of one measurement in seconds (default 1)
  --only A,B,..     run only these workloads
                    bench:    read-32 write-32 cycle-32 stat-32 read-1 stat-1 cycle-1 bulk readdir conns-64 idle
                    bench db: commit-files commit-all commit-none commit-memory branches-64 blob-1 blob-32 listing live idle-100k
  --quick           run one short round on a smaller file, to check that all workloads work
  --server A,PID    measure the server at HOST:PORT with this process id; missing files are created
  --under DIR       the directory that contains the benchmark files on the server (default: the root)
  --on DIR          bench db: create the repositories in DIR (default: on a new ext4 file system, if mounting is allowed)
  --cpu N           the CPU to use (default: the last CPU that the process may use)
  --check           exit with status 1 if a ratio is lower than required (column `must`)

The share is the server's speed divided by the speed of the baseline server. Workloads with depth 1 or 64 connections
are compared with a single-threaded baseline server. `idle` is the resident memory per connection of a new server with
1000 attached connections. The column `must` applies to the cargo profile `release`, and `aim` to the profile `dist`.
Exit status: 0 on success, 1 if --check finds a ratio that is lower than required, 2 if the measurement failed.
";

/// The number of connections in the idle workload.
const IDLE: usize = 1000;

struct Options {
    rounds: usize,
    length: Duration,
    only: Option<Vec<String>>,
    server: Option<String>,
    /// The server path of the directory that contains the benchmark files.
    under: Vec<String>,
    /// The directory in which repositories are created.
    on: Option<PathBuf>,
    cpu: Option<usize>,
    check: bool,
    /// The length of the large file in bytes.
    big: u64,
    quick: bool,
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let ended = match args.first().map(String::as_str) {
        Some("--help" | "-h") => {
            print!("{HELP}");
            Ok(true)
        }
        Some("floor") => floor::run(args.iter().any(|arg| arg == "--single")).map(|()| true),
        Some("db") => {
            parse(&args[1..], |name| db::ROWS.contains(&name)).and_then(|options| db::run(&options))
        }
        _ => parse(&args, is_workload).and_then(|options| bench(&options)),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::from(2)
        }
    }
}

/// Parses the options. `known` returns whether a name is valid for `--only`.
fn parse(args: &[String], known: impl Fn(&str) -> bool) -> Res<Options> {
    let mut options = Options {
        rounds: 5,
        length: Duration::from_secs(1),
        only: None,
        server: None,
        under: Vec::new(),
        on: None,
        cpu: None,
        check: false,
        big: 256 << 20,
        quick: false,
    };
    let mut args = args.iter().cloned();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--rounds" => options.rounds = number::<usize>(&value()?)?.max(1),
            "--secs" => options.length = seconds(&value()?)?,
            "--only" => options.only = Some(names(&value()?, &known)?),
            "--server" => options.server = Some(value()?),
            "--under" => {
                options.under =
                    value()?.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect()
            }
            "--on" => options.on = Some(value()?.into()),
            "--cpu" => options.cpu = Some(number(&value()?)?),
            "--check" => options.check = true,
            "--quick" => {
                options.quick = true;
                options.rounds = 1;
                options.length = Duration::from_millis(200);
                options.big = 32 << 20;
            }
            other => return Err(format!("unknown option {other}; see --help")),
        }
    }
    Ok(options)
}

fn number<T: std::str::FromStr>(arg: &str) -> Res<T> {
    arg.parse().map_err(|_| format!("{arg} is not a number, or is out of range"))
}

fn seconds(arg: &str) -> Res<Duration> {
    let secs: f64 = number(arg)?;
    if (0.01..=3600.0).contains(&secs) {
        Ok(Duration::from_secs_f64(secs))
    } else {
        Err(format!("--secs {arg}: must be between 0.01 and 3600"))
    }
}

fn is_workload(name: &str) -> bool {
    name == "idle" || WORKLOADS.iter().any(|workload| workload.name == name)
}

fn names(arg: &str, known: impl Fn(&str) -> bool) -> Res<Vec<String>> {
    let names: Vec<String> = arg.split(',').map(str::to_owned).collect();
    match names.iter().find(|name| !known(name)) {
        Some(name) => Err(format!("unknown workload {name}; see --help")),
        None => Ok(names),
    }
}

/// Runs the workloads and prints the table. Returns whether the run passed. Without `--check`,
/// every run passes.
fn bench(options: &Options) -> Res<bool> {
    let cpu = process::pin(options.cpu)?;
    let wanted =
        |name: &str| options.only.as_ref().is_none_or(|only| only.iter().any(|one| one == name));
    let workloads: Vec<&Workload> =
        WORKLOADS.iter().filter(|workload| wanted(workload.name)).collect();
    println!("CPU {cpu}, {} rounds of {:?}, medians", options.rounds, options.length);
    let mut rows = Vec::new();
    if wanted("idle") {
        // The idle workload runs first and on new servers, so its connections cannot reuse memory
        // freed by another workload.
        rows.push(idle(options, cpu).unwrap_or_else(|error| Row::failed("idle", &error)));
    }
    if !workloads.is_empty() {
        rows.splice(0..0, run(options, cpu, &workloads)?);
    }
    Row::print_head();
    rows.iter().for_each(Row::print);
    Ok(!options.check || rows.iter().all(|row| row.passed))
}

/// Starts the server under test, or uses the running server specified by the options. Pins the
/// server to `cpu`.
fn under_test(options: &Options, cpu: usize) -> Res<ServerProcess> {
    let mut server = match &options.server {
        Some(given) => ServerProcess::running(given)?,
        None => ServerProcess::datakit(&["--scratch"])?,
    };
    server.pin(cpu)?;
    server.target.under.clone_from(&options.under);
    Ok(server)
}

fn idle(options: &Options, cpu: usize) -> Res<Row> {
    // Raise the limit on open files before starting the servers so that they inherit the new limit.
    process::allow_files(IDLE as u64 + 100)?;
    let server = under_test(options, cpu)?.idle(IDLE)?;
    let floor = ServerProcess::floor(true)?.idle(IDLE)?;
    Ok(Row::idle(server, floor))
}

fn run(options: &Options, cpu: usize, workloads: &[&Workload]) -> Res<Vec<Row>> {
    let server = under_test(options, cpu)?;
    let floors = [ServerProcess::floor(false)?, ServerProcess::floor(true)?];
    client::fill_tree(&server.target, options.big)
        .map_err(|error| format!("the files: {error}"))?;
    let mut done: Vec<Res<Vec<Pair>>> = workloads.iter().map(|_| Ok(Vec::new())).collect();
    for round in 0..options.rounds {
        for (workload, pairs) in workloads.iter().zip(&mut done) {
            let floor = &floors[usize::from(workload.single)];
            // A failed workload is skipped in all subsequent rounds.
            let Ok(earlier) = pairs else { continue };
            match turns(options, workload, &server, floor, round % 2 == 1) {
                Ok(pair) => earlier.push(pair),
                Err(error) => *pairs = Err(error),
            }
        }
        eprintln!("round {} of {}", round + 1, options.rounds);
    }
    let row = |(workload, pairs): (&&Workload, Res<Vec<Pair>>)| match pairs {
        Ok(pairs) => Row::new(workload, &pairs),
        Err(error) => Row::failed(workload.name, &error),
    };
    Ok(workloads.iter().zip(done).map(row).collect())
}

/// Measures the server and the baseline server once. If `server_first` is set, the server is
/// measured first.
fn turns(
    options: &Options,
    workload: &Workload,
    server: &ServerProcess,
    floor: &ServerProcess,
    server_first: bool,
) -> Res<Pair> {
    let measure = |side: &ServerProcess, name: &str| {
        let measured = load::measure(&side.target, workload, options.length, options.big);
        measured.map_err(|error| format!("{name}: {error}"))
    };
    if server_first {
        let server = measure(server, "server")?;
        Ok(Pair { server, floor: measure(floor, "floor")? })
    } else {
        let floor = measure(floor, "floor")?;
        Ok(Pair { server: measure(server, "server")?, floor })
    }
}
