//! An HTTP server that answers `GET /` with `Hello World`, built with the `picoserve` crate for
//! comparison.
#![no_std]
#![no_main]

use datakit_size::{SOCKET, SOCKETS, run, spawn};
use embassy_net::Stack;
use picoserve::routing::get;
use picoserve::{Config, Router, Server};

static CONFIG: Config = Config::const_default();

#[cortex_m_rt::entry]
fn main() -> ! {
    run(|spawner, stack| {
        for _ in 0..SOCKETS {
            spawn(spawner, serve(stack));
        }
    })
}

#[embassy_executor::task(pool_size = SOCKETS)]
async fn serve(stack: Stack<'static>) -> ! {
    let (mut receive, mut transmit) = ([0; SOCKET], [0; SOCKET]);
    let mut http = [0; 1024];
    let app = Router::new().route("/", get(|| async { "Hello World" }));
    Server::new(&app, &CONFIG, &mut http)
        .listen_and_serve(0, stack, 80, &mut receive, &mut transmit)
        .await
        .into_never()
}
