//! The web server's key and certificate.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::Uri;
use parking_lot::Mutex;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use ring::digest;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use super::auth::secret_file::{self, named};

/// The minimum time between checks for changed files. A check takes place when a client connects.
const CHECK: Duration = Duration::from_secs(10);

/// The web server's TLS configuration: the private key in `server.key` and the certificate chain in
/// `server.crt`, both in the secrets directory.
///
/// If the files change, for example because the certificate is renewed, later connections use the
/// new files. All clones share the configuration.
#[derive(Clone)]
pub struct Tls(Arc<TlsInner>);

struct TlsInner {
    files: TlsFiles,
    current: Mutex<LoadedConfig>,
}

struct TlsFiles {
    key: PathBuf,
    certificate: PathBuf,
}

struct LoadedConfig {
    config: Arc<ServerConfig>,
    /// The modification times of the files.
    changed: [Option<SystemTime>; 2],
    checked: Instant,
}

impl Tls {
    /// Reads the key and the certificate. If there is no key, one is generated. If there is no
    /// certificate, a self-signed one is generated. It is valid for the host in `web_url` and for
    /// `localhost`.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or written, if the key and the certificate do not
    /// match, or if other users of the system can read the key.
    pub fn open(secrets_dir: &Path, web_url: &str) -> io::Result<Tls> {
        let files = TlsFiles {
            key: secrets_dir.join("server.key"),
            certificate: secrets_dir.join("server.crt"),
        };
        files.create_missing(web_url)?;
        let changed = files.changed();
        let config = files.load()?;
        let current = Mutex::new(LoadedConfig { config, changed, checked: Instant::now() });
        Ok(Tls(Arc::new(TlsInner { files, current })))
    }

    /// Returns the acceptor for the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.0.current.lock();
        if current.checked.elapsed() >= CHECK {
            current.checked = Instant::now();
            self.0.files.reload(&mut current);
        }
        TlsAcceptor::from(current.config.clone())
    }
}

impl TlsFiles {
    fn create_missing(&self, web_url: &str) -> io::Result<()> {
        match (self.key.exists(), self.certificate.exists()) {
            (true, true) => Ok(()),
            (false, true) => {
                let message = format!(
                    "{} exists, but {} does not: provide the key of the certificate, or remove the \
                     certificate to get a new one",
                    self.certificate.display(),
                    self.key.display()
                );
                Err(io::Error::new(io::ErrorKind::NotFound, message))
            }
            (has_key, false) => self.create_certificate(web_url, has_key),
        }
    }

    fn create_certificate(&self, web_url: &str, has_key: bool) -> io::Result<()> {
        let key_error = |error: rcgen::Error| named(&self.key, io::Error::other(error));
        let key = if has_key {
            let text = secret_file::read(&self.key)?.unwrap_or_default();
            KeyPair::from_pem(&text).map_err(key_error)?
        } else {
            let key = KeyPair::generate().map_err(key_error)?;
            secret_file::write(&self.key, key.serialize_pem().as_bytes())?;
            key
        };
        let certificate_error =
            |error: rcgen::Error| named(&self.certificate, io::Error::other(error));
        let mut params = CertificateParams::new(names(web_url)).map_err(certificate_error)?;
        params.distinguished_name.push(DnType::CommonName, "DataKitCI");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.self_signed(&key).map_err(certificate_error)?;
        secret_file::write(&self.certificate, certificate.pem().as_bytes())?;
        info!(
            file = %self.certificate.display(),
            sha256 = fingerprint(certificate.der()),
            "created a self-signed certificate; compare its fingerprint in the browser"
        );
        Ok(())
    }

    fn load(&self) -> io::Result<Arc<ServerConfig>> {
        let missing = |path: &Path| named(path, io::ErrorKind::NotFound.into());
        let key = secret_file::read(&self.key)?.ok_or_else(|| missing(&self.key))?;
        let invalid = |path: &Path, reason: &dyn fmt::Display| {
            named(path, io::Error::new(io::ErrorKind::InvalidData, reason.to_string()))
        };
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| invalid(&self.key, &error))?;
        let chain = fs::read(&self.certificate).map_err(|error| named(&self.certificate, error))?;
        let chain: Result<Vec<CertificateDer<'static>>, _> =
            CertificateDer::pem_slice_iter(&chain).collect();
        let chain = chain.map_err(|error| invalid(&self.certificate, &error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| invalid(&self.certificate, &error))?;
        Ok(Arc::new(config))
    }

    fn changed(&self) -> [Option<SystemTime>; 2] {
        let changed = |path: &Path| fs::metadata(path).and_then(|found| found.modified()).ok();
        [changed(&self.key), changed(&self.certificate)]
    }

    /// Reads the files again if they have changed. If the key and the certificate do not match, for
    /// example because only one of the files has been replaced so far, the old ones remain in use
    /// until the next change.
    fn reload(&self, current: &mut LoadedConfig) {
        let changed = self.changed();
        if changed == current.changed {
            return;
        }
        current.changed = changed;
        match self.load() {
            Ok(config) => {
                current.config = config;
                info!("the new certificate is in use");
            }
            Err(error) => warn!(%error, "the new certificate cannot be used"),
        }
    }
}

/// Returns the names for which a generated certificate is valid.
fn names(web_url: &str) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).into();
    let uri = web_url.parse::<Uri>().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    if !host.is_empty() && !names.contains(&host) {
        names.push(host);
    }
    names
}

/// Returns the SHA-256 fingerprint in the format used by browsers.
fn fingerprint(der: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, der);
    let bytes: Vec<String> = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("certificate", &self.0.files.certificate)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn open(dir: &Path) -> io::Result<Tls> {
        Tls::open(dir, "https://ci.example.org:8443/")
    }

    fn config(tls: &Tls) -> Arc<ServerConfig> {
        tls.acceptor().config().clone()
    }

    #[test]
    fn the_first_start_creates_a_private_key_and_a_certificate() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).unwrap();
        let key = dir.path().join("server.key");
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let files = [fs::read(&key).unwrap(), fs::read(dir.path().join("server.crt")).unwrap()];
        // The second start uses the existing files.
        open(dir.path()).unwrap();
        assert_eq!(files[0], fs::read(&key).unwrap());
        assert_eq!(files[1], fs::read(dir.path().join("server.crt")).unwrap());
    }

    #[test]
    fn a_missing_certificate_is_created_for_the_key() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).unwrap();
        let key = fs::read(dir.path().join("server.key")).unwrap();
        fs::remove_file(dir.path().join("server.crt")).unwrap();
        open(dir.path()).unwrap();
        assert_eq!(key, fs::read(dir.path().join("server.key")).unwrap());
    }

    #[test]
    fn files_that_cannot_be_used_are_refused_with_their_path() {
        let dir = tempfile::tempdir().unwrap();
        let (key, certificate) = (dir.path().join("server.key"), dir.path().join("server.crt"));
        fs::write(&certificate, "x").unwrap();
        let error = open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("provide the key"), "{error}");
        secret_file::write(&key, b"no key").unwrap();
        assert!(open(dir.path()).unwrap_err().to_string().contains("server.key"));
        fs::remove_file(&certificate).unwrap();
        assert!(open(dir.path()).unwrap_err().to_string().contains("server.key"));
        fs::remove_file(&key).unwrap();
        open(dir.path()).unwrap();
        let other = tempfile::tempdir().unwrap();
        open(other.path()).unwrap();
        fs::copy(other.path().join("server.crt"), &certificate).unwrap();
        assert!(open(dir.path()).unwrap_err().to_string().contains("server.crt"));
        fs::copy(other.path().join("server.key"), &key).unwrap();
        open(dir.path()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o604)).unwrap();
        assert!(open(dir.path()).unwrap_err().to_string().contains("chmod 600"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewed_certificate_is_used_without_a_restart() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let tls = open(dir.path()).unwrap();
        open(other.path()).unwrap();
        let first = config(&tls);
        let replace = |name: &str| {
            fs::copy(other.path().join(name), dir.path().join(name)).unwrap();
            // File timestamps can be coarse.
            let file = fs::File::open(dir.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() + Duration::from_secs(5)).unwrap();
        };
        replace("server.crt");
        tokio::time::advance(CHECK).await;
        assert!(Arc::ptr_eq(&first, &config(&tls)), "the key does not fit");
        replace("server.key");
        assert!(Arc::ptr_eq(&first, &config(&tls)), "it is too early for a check");
        tokio::time::advance(CHECK).await;
        assert!(!Arc::ptr_eq(&first, &config(&tls)));
    }

    #[test]
    fn the_certificate_names_the_public_host() {
        let local = ["localhost", "127.0.0.1", "::1"];
        assert_eq!(names("https://127.0.0.1:8443/"), local);
        assert_eq!(names("https://[::1]/"), local);
        assert_eq!(names("https://CI.example.org/")[3..], ["ci.example.org"]);
    }
}
