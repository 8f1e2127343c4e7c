//! Tests over real connections.
// The Clippy configuration allows panics in tests, but not in helper functions.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use axum::extract::Request as AxumRequest;
use axum::routing::{get, post};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::*;

/// The time limit for each test.
const TIMEOUT: Duration = Duration::from_secs(30);

struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    slow: Arc<Slow>,
}

/// A request that runs until the test releases it.
#[derive(Default)]
struct Slow {
    entered: Notify,
    released: Notify,
}

fn router(slow: Arc<Slow>) -> Router {
    let echo = async |body: axum::body::Bytes| format!("{} bytes\n", body.len());
    let endless = async || Body::new(Endless);
    Router::new()
        .route("/", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string()))
        .route("/echo", post(echo))
        .route("/ignore", post(async |_: AxumRequest| "ignored\n"))
        .route("/panic", get(async || -> &'static str { panic!("a handler has failed") }))
        .route("/endless", get(endless))
        .route(
            "/slow",
            get(async move || {
                slow.entered.notify_one();
                slow.released.notified().await;
                "slow\n"
            }),
        )
}

/// A body that never ends.
struct Endless;

impl hyper::body::Body for Endless {
    type Data = axum::body::Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<axum::body::Bytes>, Infallible>>> {
        let data = axum::body::Bytes::from_static(&[b'x'; 8192]);
        std::task::Poll::Ready(Some(Ok(hyper::body::Frame::data(data))))
    }
}

async fn start(limits: Limits, tls: Option<Tls>) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async { drop(stopped.await) };
    let slow = Arc::<Slow>::default();
    let task = tokio::spawn(serve(listener, router(slow.clone()), tls, limits, shutdown));
    Running { address, stop: Some(stop), task, slow }
}

/// Short time limits, to keep the tests fast.
fn limits() -> Limits {
    let time = Duration::from_millis(200);
    Limits {
        header_time: time,
        body_time: time,
        write_time: time,
        handshake_time: time,
        drain: time,
        ..Limits::default()
    }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a string, and returns everything the server sends until it closes the connection.
    async fn send(&self, text: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        // The server can close the connection before it has read everything.
        let _ = stream.write_all(text.as_ref()).await;
        read_to_end(&mut stream).await
    }
}

async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    // A reset also ends the connection.
    let _ = timeout(TIMEOUT, stream.read_to_end(&mut bytes)).await.expect("the server closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

const CLOSE: &str = "host: x\r\nconnection: close\r\n";

#[tokio::test]
async fn requests_are_answered_and_know_the_client() {
    let server = start(Limits::default(), None).await;
    let answer = server.send(format!("GET / HTTP/1.1\r\n{CLOSE}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n127.0.0.1"), "{answer}");
    let body = format!("POST /echo HTTP/1.1\r\n{CLOSE}content-length: 5\r\n\r\nhello");
    assert!(server.send(body).await.ends_with("5 bytes\n"));
}

#[tokio::test]
async fn a_panic_of_a_handler_closes_only_its_connection() {
    let server = start(Limits::default(), None).await;
    assert_eq!(server.send(format!("GET /panic HTTP/1.1\r\n{CLOSE}\r\n")).await, "");
    assert!(server.send(format!("GET / HTTP/1.1\r\n{CLOSE}\r\n")).await.contains("200 OK"));
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let server = start(limits(), None).await;
    let long = format!("GET / HTTP/1.1\r\n{CLOSE}x: {}\r\n\r\n", "a".repeat(1 << 20));
    let many = format!("GET / HTTP/1.1\r\n{CLOSE}{}\r\n", "x: a\r\n".repeat(200));
    let path = format!("GET /{} HTTP/1.1\r\n{CLOSE}\r\n", "a".repeat(1 << 20));
    let endless = "a".repeat(1 << 20);
    for request in [long, many, path, endless] {
        let answer = server.send(request).await;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(matches!(status, "431" | "414" | "400" | ""), "{answer}");
    }
}

#[tokio::test]
async fn bodies_that_are_too_large_are_refused() {
    let server = start(Limits { body_bytes: 1000, ..limits() }, None).await;
    let length = format!("POST /echo HTTP/1.1\r\n{CLOSE}content-length: 1001\r\n\r\n");
    let known = length + &"a".repeat(1001);
    let chunked = format!("POST /echo HTTP/1.1\r\n{CLOSE}transfer-encoding: chunked\r\n\r\n");
    let unknown = chunked + &format!("1f4\r\n{}\r\n", "a".repeat(500)).repeat(3) + "0\r\n\r\n";
    for request in [known, unknown] {
        let answer = server.send(request).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
    // If the handler ignores the body, the server does not read it.
    let ignored = format!("POST /ignore HTTP/1.1\r\n{CLOSE}content-length: 1000000000\r\n\r\n");
    assert!(server.send(ignored).await.contains("ignored"));
}

#[tokio::test]
async fn slow_requests_are_ended() {
    let server = start(limits(), None).await;
    let start = std::time::Instant::now();
    // Slow loris: the head, the body or the handshake never ends. One connection sends nothing.
    for head in [
        "",
        "GET / HTTP/1.1\r\nhost: x\r\nx: ",
        "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhello",
        "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
    ] {
        let mut stream = server.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let drip = async {
            // Sending a byte from time to time does not help.
            while write.write_all(b"1").await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
            std::future::pending::<()>().await
        };
        tokio::select! {
            answer = read_to_end(&mut read) => assert!(!answer.contains("200 OK"), "{answer}"),
            () = drip => {}
        }
    }
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = start(limits(), None).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.contains("200 OK"), "{answer}");
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_disconnected() {
    let server = start(Limits { connections: 1, ..limits() }, None).await;
    let mut stalled = server.connect().await;
    stalled.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // The only connection slot becomes free.
    let answer = server.send(format!("GET / HTTP/1.1\r\n{CLOSE}\r\n")).await;
    assert!(answer.contains("200 OK"), "{answer}");
}

#[tokio::test]
async fn one_address_gets_a_limited_number_of_connections() {
    let server = start(Limits { connections_per_peer: 3, ..Limits::default() }, None).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = server.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert!(stream.read(&mut [0; 1000]).await.unwrap() > 0);
        open.push(stream);
    }
    assert_eq!(server.send(format!("GET / HTTP/1.1\r\n{CLOSE}\r\n")).await, "");
    drop(open);
    let again = async {
        while !server.send(format!("GET / HTTP/1.1\r\n{CLOSE}\r\n")).await.contains("200 OK") {
            tokio::task::yield_now().await;
        }
    };
    timeout(TIMEOUT, again).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_finishes_running_requests_and_closes_the_others() {
    let mut server = start(Limits { drain: TIMEOUT, ..Limits::default() }, None).await;
    let (mut slow, mut idle) = (server.connect().await, server.connect().await);
    slow.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(idle.read(&mut [0; 1000]).await.unwrap() > 0);
    server.slow.entered.notified().await;
    server.stop.take().unwrap().send(()).unwrap();
    assert_eq!(read_to_end(&mut idle).await, "");
    server.slow.released.notify_one();
    assert!(read_to_end(&mut slow).await.ends_with("slow\n"));
    timeout(TIMEOUT, server.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_endless_streams() {
    let mut server = start(Limits { write_time: TIMEOUT, ..limits() }, None).await;
    let mut endless = server.connect().await;
    endless.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(endless.read(&mut [0; 1000]).await.unwrap() > 0);
    server.stop.take().unwrap().send(()).unwrap();
    timeout(TIMEOUT, server.task).await.unwrap().unwrap();
}

mod tls {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use tokio_rustls::TlsConnector;

    use super::*;

    fn connector(dir: &tempfile::TempDir) -> TlsConnector {
        let certificate = CertificateDer::from_pem_file(dir.path().join("server.crt")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }

    async fn request(server: &Running, connector: &TlsConnector, name: &str) -> io::Result<String> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut stream = connector.connect(name, server.connect().await).await?;
        stream.write_all(format!("GET / HTTP/1.1\r\n{CLOSE}\r\n").as_bytes()).await?;
        Ok(read_to_end(&mut stream).await)
    }

    #[tokio::test]
    async fn a_client_that_trusts_the_certificate_is_served() {
        let dir = tempfile::tempdir().unwrap();
        let tls = Tls::open(dir.path(), "https://ci.example.org").unwrap();
        let server = start(limits(), Some(tls)).await;
        let connector = connector(&dir);
        for name in ["ci.example.org", "localhost", "127.0.0.1"] {
            let answer = request(&server, &connector, name).await.unwrap();
            assert!(answer.contains("200 OK"), "{answer}");
        }
        assert!(request(&server, &connector, "other.example.org").await.is_err());
        // Clients that do not use TLS and clients that send nothing do not get a response.
        let plain = server.send(format!("GET / HTTP/1.1\r\n{CLOSE}\r\n")).await;
        assert!(plain.starts_with("HTTP/1.1 400 "), "{plain}");
        assert!(plain.ends_with("starts with https://.\n"), "{plain}");
        assert_eq!(server.send("\x16\x03\x01nonsense").await.find("HTTP"), None);
        assert_eq!(server.send("").await, "");
    }
}
