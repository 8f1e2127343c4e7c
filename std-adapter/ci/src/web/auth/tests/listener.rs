//! Logins over TLS connections.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::*;
use crate::web::server::{Limits, serve};
use crate::web::tls::Tls;

/// A client that keeps one cookie and opens a new connection for each request.
struct Client {
    address: SocketAddr,
    connector: TlsConnector,
    cookie: String,
}

impl Client {
    async fn start(site: &Site) -> Client {
        let tls = Tls::open(site.dir.path(), "https://localhost").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (router, never) = (site.router.clone(), std::future::pending());
        tokio::spawn(serve(listener, router, Some(tls), Limits::default(), never));
        let mut roots = RootCertStore::empty();
        let certificate = site.dir.path().join("server.crt");
        roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        Client { address, connector, cookie: String::new() }
    }

    async fn send(&mut self, head: &str, body: &str) -> String {
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let mut stream = self.connector.connect(name, stream).await.unwrap();
        let request = format!(
            "{head} HTTP/1.1\r\nhost: localhost\r\norigin: https://localhost\r\n\
             connection: close\r\ncookie: {}\r\ncontent-length: {}\r\n\
             content-type: application/x-www-form-urlencoded\r\n\r\n{body}",
            self.cookie,
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        if let Some((_, set)) = answer.split_once("set-cookie: ") {
            self.cookie = set.split(';').next().unwrap().to_owned();
        }
        answer
    }

    async fn log_in(&mut self, password: &str) -> String {
        let page = self.send("GET /auth/login", "").await;
        let (_, rest) = page.split_once("name=\"csrf\" value=\"").unwrap();
        let csrf = rest.split('"').next().unwrap();
        let form = format!("csrf={csrf}&user=alice&password={}", password.replace(' ', "+"));
        self.send("POST /auth/login", &form).await
    }
}

#[tokio::test]
async fn a_user_logs_in_over_tls_and_guesses_are_limited_by_address() {
    let site = Site::new();
    drop(site.user("alice").await);
    let mut client = Client::start(&site).await;
    let answer = client.log_in(PASSWORD).await;
    assert!(answer.starts_with("HTTP/1.1 303 "), "{answer}");
    assert!(client.cookie.starts_with("__Host-datakit-ci="), "{}", client.cookie);
    let profile = client.send("GET /user/profile", "").await;
    assert!(profile.contains("<h1>alice</h1>"), "{profile}");
    client.cookie.clear();
    let mut statuses = Vec::new();
    for _ in 0..12 {
        let answer = client.log_in("wrong").await;
        statuses.push(answer.split(' ').nth(1).unwrap().to_owned());
    }
    assert_eq!(statuses[..10], ["401"; 10]);
    assert_eq!(statuses[10..], ["429"; 2]);
}
