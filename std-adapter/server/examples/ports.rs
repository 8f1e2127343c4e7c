//! Forwards TCP ports. As in vpnkit, clients control port forwards through files. A forward exists
//! while its `ctl` file is open.
//!
//! ```sh
//! cargo run -p datakit-server --example ports -- tcp://127.0.0.1:5640
//! mount -t 9p -o trans=tcp,port=5640,version=9p2000.L 127.0.0.1 /port
//! name=tcp:127.0.0.1:8080:tcp:10.0.0.1:80
//! mkdir /port/$name; exec 3<>/port/$name/ctl; echo $name >&3; cat /port/$name/ctl
//! ```
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use datakit_core::vfs::{self, Error, Name};
use datakit_server::tree::{CallbackDir, Command, Dir, Entry, Leaf, ReadOnly, ReadOnlyText, Tree};
use datakit_server::{Limits, Server};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const README: &str =
    "mkdir tcp:IP:PORT:tcp:IP:PORT, open its ctl, write the name, read OK or ERROR.
Connections to the first address go to the second one until the last client closes ctl.\n";
const MAX_FORWARDS: usize = 256;
const MAX_CONNECTIONS_PER_FORWARD: usize = 64;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let url = std::env::args().nth(1).unwrap_or("tcp://127.0.0.1:5640".to_owned());
    let url = url.parse().map_err(std::io::Error::other)?;
    let server = Server::bind(&[url], Limits::default()).await?;
    server.urls().iter().for_each(|url| println!("listening on {url}"));
    let tree = tree();
    server.serve_tree(move |_| tree.clone(), std::future::pending()).await
}

/// Returns the file tree that controls the forwards. All clients share the tree.
pub(crate) fn tree() -> Tree {
    let ports = Dir::from_iter([Entry::file("README", ReadOnlyText::new(README))]);
    Tree::new(CallbackDir::over(ports.clone()).mkdir(move |name, _| mkdir(&ports, name)))
}

fn mkdir(ports: &Dir, name: Name<'_>) -> vfs::Result<Entry> {
    if ports.len() > MAX_FORWARDS {
        return Err(Error::NoSpace.with_message(format_args!("{MAX_FORWARDS} forwards exist")));
    }
    let (name, removed_from) = (Arc::<[u8]>::from(name.as_bytes()), ports.clone());
    // The tasks that forward the data, or `None` once the last client has closed the `ctl` file.
    // Dropping the set stops the tasks and closes their connections.
    let forward = Arc::new(Mutex::new(Some(JoinSet::new())));
    let (spec, task) = (name.clone(), forward.clone());
    let ctl = Command::new(move |text| match start(&mut task.lock(), &spec, text) {
        Ok(()) => Ok(format!("OK {text}\n")),
        Err(reason) => Ok(format!("ERROR {reason}\n")),
    });
    let dir = name.clone();
    let ctl = ctl.complete_unless(|_| false).on_clunk(move || {
        if forward.lock().take().is_some() {
            removed_from.remove(&name);
        }
    });
    ports.try_insert(Entry::dir(dir, ReadOnly(Dir::from_iter([Entry::file("ctl", ctl)]))))
}

/// Starts the port forward described by the directory name `name`. Returns an error if `text`,
/// which the client wrote to the `ctl` file, differs from `name`.
fn start(forward: &mut Option<JoinSet<()>>, name: &[u8], text: &str) -> Result<(), String> {
    let addresses = text.strip_prefix("tcp:").and_then(|rest| rest.split_once(":tcp:"));
    let addresses = addresses.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    let (from, to): (SocketAddr, _) = addresses.ok_or("the form is tcp:IP:PORT:tcp:IP:PORT")?;
    let unused = forward.as_mut().filter(|tasks| tasks.is_empty() && text.as_bytes() == name);
    let tasks = unused.ok_or("write the name of the directory, and once")?;
    let listener = std::net::TcpListener::bind(from);
    let listener = listener.and_then(|it| it.set_nonblocking(true).and(TcpListener::from_std(it)));
    let listener = listener.map_err(|error| format!("cannot listen on {from}: {error}"))?;
    tasks.spawn(serve(listener, to));
    Ok(())
}

async fn serve(listener: TcpListener, to: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS_PER_FORWARD => {
                let Ok((mut from, _)) = accepted else {
                    // If `accept` fails, it is usually because too many files are open, so wait
                    // before trying again.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                connections.spawn(async move {
                    let mut to = TcpStream::connect(to).await?;
                    tokio::io::copy_bidirectional(&mut from, &mut to).await
                });
            }
        }
    }
}
