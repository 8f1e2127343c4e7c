//! Opens, reads and closes a small file 1000 times, with up to 32 reads at a time, and prints the
//! number of reads per second.
//!
//! ```sh
//! datakit serve --scratch &
//! cargo run -p datakit-client --example read_loop -- tcp://127.0.0.1:5640
//! ```

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use datakit_client::{Client, Options, Url};
use tokio::task::JoinSet;

const READS: usize = 1000;
const AT_A_TIME: usize = 32;
const CONTENT: &[u8] = b"hello, world\n";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url: Url =
        std::env::args().nth(1).unwrap_or_else(|| "tcp://127.0.0.1:5640".to_owned()).parse()?;
    let client = Client::connect(&url, Options::default()).await?;
    client.write("/small", CONTENT).await?;
    let started = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    let begin = Instant::now();
    for _ in 0..AT_A_TIME {
        let (client, started) = (client.clone(), Arc::clone(&started));
        tasks.spawn(async move {
            while started.fetch_add(1, Relaxed) < READS {
                if client.read("/small").await? != CONTENT {
                    return Err("the file has another content".into());
                }
            }
            Ok::<(), Box<dyn Error + Send + Sync>>(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task?.map_err(|error| error.to_string())?;
    }
    let rate = READS as f64 / begin.elapsed().as_secs_f64();
    println!("rust: {READS} pipelined reads: {rate:.0}/s");
    Ok(())
}
