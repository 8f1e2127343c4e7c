//! Serves a program's state over TCP until Ctrl-C is pressed.
//!
//! ```sh
//! cargo run -p datakit-server --example server -- localhost:5640
//! cargo run -p datakit -- watch /uptime
//! ```
use datakit_server::tree::{Command, Dir, Entry, Live, Status, Tree};
use datakit_server::{Limits, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or("localhost:5640".to_owned());
    let server = Server::bind(&[url.parse()?], Limits::default()).await?;
    server.urls().iter().for_each(|url| println!("listening on {url}"));

    let uptime = Live::new(0_u64);
    let (root, counter, stats) = (Dir::new(), uptime.clone(), server.stats());
    let connections = Status::new(move || Ok(format!("{}\n", stats.connections())));
    let reset = Command::new(move |_arguments| {
        counter.publish(0);
        Ok("done\n")
    });
    root.insert(Entry::file("uptime", uptime.file(|seconds| format!("{seconds}\n"))));
    root.insert(Entry::file("connections", connections));
    root.insert(Entry::file("reset", reset));
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            uptime.publish(uptime.with(|seconds| seconds + 1));
        }
    });

    let tree = Tree::new(root);
    let stop = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    Ok(server.serve_tree(move |_peer| tree.clone(), stop).await?)
}
