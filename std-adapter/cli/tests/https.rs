//! Tests for fetching over HTTPS from a server with a private certificate authority.
// The Clippy configuration allows panics in tests, but not in helper functions.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
#[path = "../../db/tests/common/http_backend.rs"]
mod http_backend;

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use common::{Client, Scratch, Server, TIMEOUT};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

/// Returns the TLS configuration for a server at 127.0.0.1, and the authority's certificate in PEM
/// format.
fn certificates() -> (ServerConfig, String) {
    let (key, key_of_server) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&key).unwrap().pem();
    let server = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = server.signed_by(&key_of_server, &Issuer::new(authority, key)).unwrap();
    let key = PrivateKeyDer::try_from(key_of_server.serialize_der()).unwrap();
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    (config.with_single_cert(vec![certificate.der().clone()], key).unwrap(), pem)
}

/// Starts a TLS proxy for `address` and returns the proxy's address.
fn start_tls_proxy(address: String, config: ServerConfig) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let (here, tls) =
        (listener.local_addr().unwrap().to_string(), TlsAcceptor::from(Arc::new(config)));
    // The thread runs until the process exits.
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(
            async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((socket, _)) = listener.accept().await {
                    let (tls, address) = (tls.clone(), address.clone());
                    tokio::spawn(async move {
                        let mut near = tls.accept(socket).await?;
                        let mut far = tokio::net::TcpStream::connect(address).await?;
                        tokio::io::copy_bidirectional(&mut near, &mut far).await
                    });
                }
            },
        );
    });
    here
}

/// Creates a repository with a commit on `master`, and returns the hash of the commit.
fn repository(path: &Path) -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").arg("-C").arg(path).args(args).output().unwrap();
        assert!(
            output.status.success(),
            "git {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q", "-b", "master"]);
    git(&[
        "-c",
        "user.name=x",
        "-c",
        "user.email=x@x",
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "far",
    ]);
    git(&["rev-parse", "master"])
}

#[test]
fn ssl_cert_file_selects_the_trusted_certificates() {
    let dir = Scratch::new("https");
    let far = repository(&dir.0);
    let plain = http_backend::serve(&dir.0, true);
    let (config, ours) = certificates();
    let (http, https) = (
        format!("http://{plain}/.git"),
        format!("https://{}/.git", start_tls_proxy(plain, config)),
    );
    let trusting = |file: &str, pem: &str| {
        let file = dir.path(file);
        std::fs::write(&file, pem).unwrap();
        Server::logging(&[], &[("SSL_CERT_FILE", &file), ("SSL_CERT_DIR", "")])
    };
    let fetch = |server: &Server, url: &str| {
        let client = Client { address: server.address(), dialect: "9p2000.u" };
        let output = client.command(&["db", "fetch", url, "master"]).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let assert_logged = |log: Receiver<String>, why: &str| {
        let failed = |line: &String| line.contains("cannot fetch");
        let line = std::iter::from_fn(|| log.recv_timeout(TIMEOUT).ok()).find(failed).unwrap();
        assert!(line.contains(why), "{line}");
    };

    let (server, log) = trusting("ours", &ours);
    let fetched = fetch(&server, &https);
    assert_eq!(fetched, format!("{far}\n"), "{:?}", log.try_iter().collect::<Vec<_>>());

    let (server, log) = trusting("others", &certificates().1);
    let refused = format!("datakit: cannot fetch {https}: ");
    assert!(fetch(&server, &https).starts_with(&refused));
    assert_logged(log, "certificate");

    let (server, log) = trusting("none", "");
    assert!(fetch(&server, &https).starts_with(&refused));
    assert_logged(log, "cannot fetch");
    // Plain HTTP needs no certificates.
    assert_eq!(fetch(&server, &http), format!("{far}\n"));
}
