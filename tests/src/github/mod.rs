//! A fake GitHub server for testing bridges. The server offers the REST API for repositories and
//! delivers webhooks.
//!
//! [`Fake::start`] serves the API on a free port. A test changes the state through [`Repository`],
//! as a person would on the website. Each change emits the same events as on GitHub. Tests can
//! apply faults to calls ([`GitHub::fault`]) and deliveries ([`GitHub::fault_delivery`]). The log
//! counts the calls to each route ([`GitHub::counts`]).
//!
//! The scripts in `tests/github` check the fake's responses with third-party clients and schemas.

mod actions;
mod actor;
mod apps;
mod auth;
mod call;
mod checks;
mod comments;
mod commits;
mod control;
mod deliver;
mod events;
mod faults;
mod handle;
mod hooks;
mod inner;
mod json;
mod limits;
mod log;
mod oauth;
mod outbox;
mod pages;
mod person;
mod pulls;
mod refs;
mod reply;
mod repo;
mod repos;
mod routes;
mod server;
mod state;
mod statuses;
mod urls;

pub use deliver::signature;
pub use faults::Fault;
pub use handle::{BOT, GitHub};
pub use log::Record;
pub use outbox::{Delivered, DeliveryFault};
pub use person::Repository;
pub use repo::{Comment, Commit, Hook, Object, Pull, Repo, Run, Status, Suite, Tag};
pub use state::User;

use std::ops::Deref;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};

use crate::TIMEOUT;
use inner::FakeInner;
use state::World;
use urls::Urls;

/// A running fake GitHub server. Dropping this value closes all connections and stops the thread.
///
/// A `Fake` dereferences to [`GitHub`], which provides all other methods.
pub struct Fake {
    github: GitHub,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    /// Starts a fake on free local ports.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0").expect("a free port")
    }

    /// Starts a fake that serves the API at the given address.
    ///
    /// # Errors
    ///
    /// Returns an error if the address is in use.
    pub fn start_at(addr: &str) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind(addr)?;
        let control = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        control.set_nonblocking(true)?;
        let (addr, control_addr) = (listener.local_addr()?, control.local_addr()?);
        let web = format!("http://{addr}");
        let shared = Arc::new(FakeInner {
            addr,
            control: control_addr,
            world: Mutex::new(World::new(Urls { api: web.clone(), web })),
            changed: Notify::new(),
            outgoing: Notify::new(),
            requests: AtomicU64::new(1),
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let (started, start) = mpsc::channel();
        let served = shared.clone();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                let control = TcpListener::from_std(control).unwrap();
                started.send(()).unwrap();
                tokio::select! {
                    () = server::serve(listener, server::Api(served.clone())) => {}
                    () = server::serve(control, control::Control(served.clone())) => {}
                    () = deliver::run(served) => {}
                    _ = stopped => {}
                }
            });
        });
        start.recv_timeout(TIMEOUT).unwrap();
        Ok(Self { github: GitHub { shared }, stop: Some(stop), thread: Some(thread) })
    }
}

impl Deref for Fake {
    type Target = GitHub;

    fn deref(&self) -> &GitHub {
        &self.github
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the fake of GitHub failed");
        }
    }
}
