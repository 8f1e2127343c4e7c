//! Fetching from a server whose certificate only some of the machine's users know.
// Clippy's allowance for tests ends at the functions they share.
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

/// A certificate of 127.0.0.1, and that of the authority it has it from, as PEM.
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

/// Has `address` by TLS as well; where.
fn encrypted(address: String, config: ServerConfig) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let (here, tls) =
        (listener.local_addr().unwrap().to_string(), TlsAcceptor::from(Arc::new(config)));
    // It ends with the tests.
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

/// A repository in a directory, with a commit on `master`, and its hash.
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
fn the_machine_says_whose_certificates_are_good() {
    let dir = Scratch::new("https");
    let far = repository(&dir.0);
    let plain = http_backend::serve(&dir.0, true);
    let (config, ours) = certificates();
    let (http, https) =
        (format!("http://{plain}/.git"), format!("https://{}/.git", encrypted(plain, config)));
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
    let told = |log: Receiver<String>, why: &str| {
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
    told(log, "certificate");

    let (server, log) = trusting("none", "");
    assert!(fetch(&server, &https).starts_with(&refused));
    told(log, "cannot fetch");
    // Who does not encrypt needs none.
    assert_eq!(fetch(&server, &http), format!("{far}\n"));
}
