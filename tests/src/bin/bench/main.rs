//! `bench`: the server against the do-nothing floor, in turns, on one pinned CPU.
//!
//! A figure alone says more of the machine than of the server; the share of what the same client
//! gets from a responder that does nothing, in the same minute and on the same CPU, is what the
//! budgets are stated in. Linux only.

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

use process::Server;
use report::{Pair, Row};
use workload::{WORKLOADS, Workload};

/// Errors end the workload or the program with a line for a person.
pub(crate) type Res<T> = Result<T, String>;

const HELP: &str = "\
bench: the 9P server against a responder that does nothing (9P2000.L, TCP on loopback, one pinned CPU)

  bench [options]          starts `datakit serve --scratch` (DATAKIT_BIN, or beside this program) and the floor
  bench floor [--single]   only the floor: a thread for each connection, or one for all
  bench db [options]       the database beside `git`, in turns; rounds, secs, only, on, cpu, quick and check as below

  --rounds N        rounds in which the two take turns (default 5); medians are shown
  --secs S          length of one measurement in seconds (default 1)
  --only A,B,..     of: commit-files commit-all commit-none commit-memory branches-64 blob-1 blob-32 listing live idle-100k (db);
                    or: read-32 write-32 cycle-32 stat-32 read-1 stat-1 cycle-1 bulk readdir conns-64 idle
  --quick           one short round on a smaller file: does it work, not how fast
  --server A,PID    measure this server at HOST:PORT; the files are made if they are missing
  --under DIR       the directory that holds the files (default: the root)
  --on DIR          db: repositories in DIR, whatever that is on (default: on an ext4 of their own, if one may be mounted)
  --cpu N           the CPU to use (default: the last one allowed)
  --check           exit status 1 if a must is missed

The share is the server's speed over the floor's. Depth 1 and 64 connections are compared with the floor of one thread.
idle is the resident memory for each of 1000 attached connections, of a server that has done nothing else.
Exit status: 0, 1 with --check, 2 if nothing could be measured.
";

/// Connections of the idle workload.
const IDLE: usize = 1000;

struct Options {
    rounds: usize,
    length: Duration,
    only: Option<Vec<String>>,
    server: Option<String>,
    /// The directories down to the one with the files.
    under: Vec<String>,
    /// The directory for repositories.
    on: Option<PathBuf>,
    cpu: Option<usize>,
    check: bool,
    /// Bytes of the large file.
    big: u64,
    quick: bool,
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let ended = match words.first().map(String::as_str) {
        Some("--help" | "-h") => {
            print!("{HELP}");
            Ok(true)
        }
        Some("floor") => floor::run(words.iter().any(|word| word == "--single")).map(|()| true),
        Some("db") => parse(&words[1..], |name| db::ROWS.contains(&name))
            .and_then(|options| db::run(&options)),
        _ => parse(&words, is_workload).and_then(|options| bench(&options)),
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

/// `known` are the names that `--only` takes.
fn parse(words: &[String], known: impl Fn(&str) -> bool) -> Res<Options> {
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
    let mut words = words.iter().cloned();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        match word.as_str() {
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
            other => return Err(format!("what is {other}? See --help")),
        }
    }
    Ok(options)
}

fn number<T: std::str::FromStr>(word: &str) -> Res<T> {
    word.parse().map_err(|_| format!("{word} is no number that fits here"))
}

fn seconds(word: &str) -> Res<Duration> {
    let secs: f64 = number(word)?;
    if (0.01..=3600.0).contains(&secs) {
        Ok(Duration::from_secs_f64(secs))
    } else {
        Err(format!("--secs {word}"))
    }
}

fn is_workload(name: &str) -> bool {
    name == "idle" || WORKLOADS.iter().any(|workload| workload.name == name)
}

fn names(word: &str, known: impl Fn(&str) -> bool) -> Res<Vec<String>> {
    let names: Vec<String> = word.split(',').map(str::to_owned).collect();
    match names.iter().find(|name| !known(name)) {
        Some(name) => Err(format!("there is no workload {name}")),
        None => Ok(names),
    }
}

/// Whether the run counts as passed.
fn bench(options: &Options) -> Res<bool> {
    let cpu = process::pin(options.cpu)?;
    let wanted =
        |name: &str| options.only.as_ref().is_none_or(|only| only.iter().any(|one| one == name));
    let workloads: Vec<&Workload> =
        WORKLOADS.iter().filter(|workload| wanted(workload.name)).collect();
    println!("CPU {cpu}, {} rounds of {:?}, medians", options.rounds, options.length);
    let mut rows = Vec::new();
    if wanted("idle") {
        // First, and on servers of their own: memory that another workload freed would hide what a
        // connection takes.
        rows.push(idle(options, cpu).unwrap_or_else(|error| Row::failed("idle", &error)));
    }
    if !workloads.is_empty() {
        rows.splice(0..0, run(options, cpu, &workloads)?);
    }
    Row::print_head();
    rows.iter().for_each(Row::print);
    Ok(!options.check || rows.iter().all(|row| row.passed))
}

/// On `cpu`, which one that was started here has inherited.
fn under_test(options: &Options, cpu: usize) -> Res<Server> {
    let mut server = match &options.server {
        Some(given) => Server::running(given)?,
        None => Server::datakit(&["--scratch"])?,
    };
    server.pin(cpu)?;
    server.place.under.clone_from(&options.under);
    Ok(server)
}

fn idle(options: &Options, cpu: usize) -> Res<Row> {
    // Before the servers start, since they inherit it.
    process::allow_files(IDLE as u64 + 100)?;
    let server = under_test(options, cpu)?.idle(IDLE)?;
    let floor = Server::floor(true)?.idle(IDLE)?;
    Ok(Row::idle(server, floor))
}

fn run(options: &Options, cpu: usize, workloads: &[&Workload]) -> Res<Vec<Row>> {
    let server = under_test(options, cpu)?;
    let floors = [Server::floor(false)?, Server::floor(true)?];
    client::fill_tree(&server.place, options.big).map_err(|error| format!("the files: {error}"))?;
    let mut done: Vec<Res<Vec<Pair>>> = workloads.iter().map(|_| Ok(Vec::new())).collect();
    for round in 0..options.rounds {
        for (workload, pairs) in workloads.iter().zip(&mut done) {
            let floor = &floors[usize::from(workload.single)];
            // The first error of a workload stays; the others go on.
            let Ok(earlier) = pairs else { continue };
            match turns(options, workload, &server, floor, round % 2 == 1) {
                Ok(pair) => earlier.push(pair),
                Err(error) => *pairs = Err(error),
            }
        }
        eprintln!("round {} of {}", round + 1, options.rounds);
    }
    let row = |(workload, pairs): (&&Workload, Res<Vec<Pair>>)| match pairs {
        Ok(pairs) => Row::of(workload, &pairs),
        Err(error) => Row::failed(workload.name, &error),
    };
    Ok(workloads.iter().zip(done).map(row).collect())
}

/// One measurement of each; who begins changes from round to round.
fn turns(
    options: &Options,
    workload: &Workload,
    server: &Server,
    floor: &Server,
    server_first: bool,
) -> Res<Pair> {
    let measure = |target: &Server, name: &str| {
        let measured = load::measure(&target.place, workload, options.length, options.big);
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
