//! A simple HTTP client, and a server that receives webhooks.

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

/// A request or a response. For a request, the status is 0.
pub struct Message {
    pub status: u16,
    headers: HeaderMap,
    pub text: String,
}

impl Message {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    async fn read(status: u16, headers: HeaderMap, body: Incoming) -> io::Result<Self> {
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        Ok(Self { status, headers, text: String::from_utf8(body.to_vec()).unwrap() })
    }
}

/// A client that opens a connection for each call.
pub struct Client {
    host: String,
    base: String,
    token: String,
}

impl Client {
    pub fn new(url: &str, token: &str) -> Self {
        let (host, base) = match url["http://".len()..].split_once('/') {
            Some((host, base)) => (host, format!("/{base}")),
            None => (&url["http://".len()..], String::new()),
        };
        Self { host: host.into(), base, token: token.into() }
    }

    pub async fn get(&self, path: &str) -> Message {
        self.send("GET", path, &[], None).await.unwrap()
    }

    pub async fn post(&self, path: &str, body: Value) -> Message {
        self.send("POST", path, &[], Some(body.to_string())).await.unwrap()
    }

    /// Sends a request. Omits headers that have an empty value.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> io::Result<Message> {
        let stream = TcpStream::connect(&self.host).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("host", &self.host)
            .header("authorization", format!("Bearer {}", self.token));
        let agent = [("user-agent", "test")];
        let agent = agent.iter().filter(|(name, _)| headers.iter().all(|(other, _)| name != other));
        for (name, value) in headers.iter().chain(agent).filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.unwrap_or_default()))).unwrap();
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        let (head, body) = answer.into_parts();
        let message = Message::read(head.status.as_u16(), head.headers, body).await;
        connection.abort();
        message
    }
}

/// A server that receives webhooks and responds to every request with status 200.
pub struct Receiver {
    url: String,
    received: Arc<Mutex<Vec<Message>>>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let all = received.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let all = all.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request: Request<Incoming>| {
                        let all = all.clone();
                        async move {
                            let (head, body) = request.into_parts();
                            assert!(!body.is_end_stream());
                            let message = Message::read(0, head.headers, body).await?;
                            all.lock().unwrap().push(message);
                            Ok::<_, io::Error>(Response::new(String::new()))
                        }
                    });
                    let server = hyper::server::conn::http1::Builder::new();
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url, received }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the requests received since the last call.
    pub fn received(&self) -> Vec<Message> {
        std::mem::take(&mut self.received.lock().unwrap())
    }
}
