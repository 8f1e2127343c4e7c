//! A minimal HTTP server that runs `git http-backend`.
// The Clippy configuration allows `unwrap` and indexing in test functions, but not in other
// functions that tests call.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::convert::Infallible;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

/// Serves the repositories below `root` and returns the server's address. If `public` is `false`,
/// the server responds to every request with 401 Unauthorized.
pub(crate) fn serve(root: &Path, public: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let root: Arc<Path> = root.into();
    // The thread runs until the process exits.
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(
            async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((socket, _)) = listener.accept().await {
                    let root = root.clone();
                    let service = service_fn(move |request| respond(root.clone(), public, request));
                    tokio::spawn(
                        http1::Builder::new().serve_connection(TokioIo::new(socket), service),
                    );
                }
            },
        );
    });
    address
}

type HttpResult = std::result::Result<Response<Full<Bytes>>, Infallible>;

async fn respond(root: Arc<Path>, public: bool, request: Request<Incoming>) -> HttpResult {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    if !public {
        let refused = Response::builder()
            .status(StatusCode::UNAUTHORIZED)
            .header("WWW-Authenticate", "Basic realm=x");
        return Ok(refused.body(Full::default()).unwrap());
    }
    let header =
        |name: &str| head.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let mut git = Command::new("git");
    git.arg("http-backend").env("GIT_PROJECT_ROOT", &*root).env("GIT_HTTP_EXPORT_ALL", "1");
    git.env("PATH_INFO", head.uri.path()).env("QUERY_STRING", head.uri.query().unwrap_or_default());
    git.env("REQUEST_METHOD", head.method.as_str()).env("CONTENT_LENGTH", body.len().to_string());
    git.env("CONTENT_TYPE", header("content-type")).env("GIT_PROTOCOL", header("git-protocol"));
    git.env("HTTP_CONTENT_ENCODING", header("content-encoding"));
    let mut running = git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    running.stdin.take().unwrap().write_all(&body).unwrap();
    let output = running.wait_with_output().unwrap().stdout;
    let (head, body) =
        output.split_at(output.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4);
    let mut response = Response::builder();
    for (name, value) in
        std::str::from_utf8(head).unwrap().lines().filter_map(|line| line.split_once(": "))
    {
        response = match name {
            "Status" => response.status(value.get(..3).unwrap()),
            _ => response.header(name, value),
        };
    }
    Ok(response.body(Full::new(Bytes::copy_from_slice(body))).unwrap())
}
