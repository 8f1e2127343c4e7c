//! Tests for both backends.

use super::*;
use crate::web::auth::user::User;

fn data(name: &str, age: u64) -> SessionData {
    let user = User::local(name).or_else(|| User::github(name.strip_prefix("github:")?)).unwrap();
    SessionData {
        user,
        created: now() - age,
        password: Some("v".into()),
        rights: Default::default(),
    }
}

async fn behaves(sessions: &Sessions) {
    let (id, other) = (SessionId::random().unwrap(), SessionId::random().unwrap());
    assert_eq!(sessions.get(&id).await.unwrap(), None);
    let alice = data("alice", 0);
    sessions.insert(&id, alice.clone()).await.unwrap();
    assert_eq!(sessions.get(&id).await.unwrap(), Some(alice));
    assert_eq!(sessions.get(&other).await.unwrap(), None);
    let bob = data("bob", 0);
    sessions.insert(&id, bob.clone()).await.unwrap();
    assert_eq!(sessions.get(&id).await.unwrap(), Some(bob));
    sessions.remove(&id).await.unwrap();
    sessions.remove(&id).await.unwrap();
    assert_eq!(sessions.get(&id).await.unwrap(), None);
    // A session ends a fixed time after the login, even if it is in constant use.
    for (name, days, ended) in [
        ("alice", 6, false),
        ("alice", 7, true),
        ("github:alice", 0, false),
        ("github:alice", 1, true),
    ] {
        sessions.insert(&other, data(name, days * 24 * 3600)).await.unwrap();
        assert_eq!(sessions.get(&other).await.unwrap().is_none(), ended, "{name} {days}");
    }
}

#[tokio::test]
async fn sessions_in_memory() {
    behaves(&Sessions::new(&SessionsBackend::default())).await;
}

#[test]
fn invalid_backends_are_refused() {
    for text in [
        "",
        "memory",
        "redis://",
        "redis://:6379",
        "redis://host:x",
        "redis://host:99999",
        "redis://::1:6379",
        "redis://host:1/x",
        "redis+unix://relative",
        "http://host:1",
    ] {
        assert!(text.parse::<SessionsBackend>().is_err(), "{text}");
    }
    for (url, shown) in [
        ("redis://:p@ss@host:1", "redis://:***@host:1"),
        ("rediss://ci:pass@host/2", "rediss://ci:***@host/2"),
        ("redis+unix:///run/redis.sock?pass=x", "redis+unix:///run/redis.sock"),
    ] {
        let secret: SessionsBackend = url.parse().unwrap();
        assert_eq!(format!("{secret:?}"), format!("SessionsBackend({shown})"));
    }
}

/// A Redis server on a Unix socket.
pub(in crate::web::auth) struct RedisServer {
    process: std::process::Child,
    dir: tempfile::TempDir,
}

impl RedisServer {
    /// Starts the server. Returns `None` and prints a message if Redis is not installed.
    pub(in crate::web::auth) async fn start(options: &[&str]) -> Option<RedisServer> {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("redis.sock");
        let mut command = std::process::Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--loglevel", "warning", "--unixsocket"]);
        command.arg(&socket).arg("--dir").arg(dir.path()).args(options);
        command.stdout(std::process::Stdio::null());
        let process = match command.spawn() {
            Ok(process) => process,
            Err(error) => {
                println!(
                    "SKIPPED: redis-server cannot be started ({error}), see the Debian package"
                );
                return None;
            }
        };
        let server = RedisServer { process, dir };
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while tokio::net::UnixStream::connect(&socket).await.is_err() {
            assert!(std::time::Instant::now() < deadline, "redis-server does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(server)
    }

    pub(in crate::web::auth) fn backend(&self) -> SessionsBackend {
        format!("redis+unix://{}/redis.sock", self.dir.path().display()).parse().unwrap()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn sessions_in_redis() {
    let Some(server) = RedisServer::start(&[]).await else { return };
    behaves(&Sessions::new(&server.backend())).await;
    // Another process, or the same process after a restart, sees the sessions.
    let id = SessionId::random().unwrap();
    Sessions::new(&server.backend()).insert(&id, data("alice", 0)).await.unwrap();
    let sessions = Sessions::new(&server.backend());
    assert!(sessions.get(&id).await.unwrap().is_some());
    // The Redis server stores only a hash of the cookie and expires the session on its own.
    let socket = server.dir.path().join("redis.sock");
    let ask = |arguments: &[&str]| {
        let mut command = std::process::Command::new("redis-cli");
        let output = command.arg("-s").arg(&socket).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let key = format!("datakit-ci:session:{}", id.key());
    assert_eq!(ask(&["EXISTS", &key]), "1");
    assert!(!ask(&["KEYS", "*"]).contains(id.expose()));
    let seconds: u64 = ask(&["TTL", &key]).parse().unwrap();
    assert!((IDLE.as_secs() - 60..=IDLE.as_secs()).contains(&seconds), "{seconds}");
    // A value that this version cannot read does not count as a session.
    ask(&["SET", &key, "{}"]);
    assert_eq!(sessions.get(&id).await.unwrap(), None);
}

#[tokio::test]
async fn a_closed_connection_to_redis_is_opened_again() {
    let Some(server) = RedisServer::start(&[]).await else { return };
    let sessions = Sessions::new(&server.backend());
    let id = SessionId::random().unwrap();
    sessions.insert(&id, data("alice", 0)).await.unwrap();
    let socket = server.dir.path().join("redis.sock");
    let killed = std::process::Command::new("redis-cli")
        .arg("-s")
        .arg(&socket)
        .args(["CLIENT", "KILL", "TYPE", "normal"])
        .output()
        .unwrap();
    assert!(killed.status.success());
    assert!(sessions.get(&id).await.unwrap().is_some());
}

#[tokio::test]
async fn an_error_of_redis_is_reported_with_the_address() {
    let Some(server) = RedisServer::start(&["--requirepass", "secret"]).await else { return };
    let sessions = Sessions::new(&server.backend());
    let error = sessions.get(&SessionId::random().unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("redis.sock: ") && error.contains("uthentication"), "{error}");
    let gone: SessionsBackend = "redis+unix:///nonexistent/redis.sock".parse().unwrap();
    let error = Sessions::new(&gone).insert(&SessionId::random().unwrap(), data("a", 0)).await;
    assert!(error.unwrap_err().to_string().starts_with("redis+unix:///nonexistent/redis.sock: "));
}

/// The name of an environment variable. The root certificates are set for a whole process, so the
/// test connects from a new process, to which it passes the URL in this variable.
const URL: &str = "DATAKIT_CI_TEST_REDIS";

#[tokio::test]
async fn tls_a_password_and_a_database_are_used() {
    if let Ok(url) = std::env::var(URL) {
        let sessions = Sessions::new(&url.parse().unwrap());
        behaves(&sessions).await;
        sessions.insert(&SessionId::random().unwrap(), data("alice", 0)).await.unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    crate::web::tls::Tls::open(dir.path(), "https://localhost/").unwrap();
    let [key, certificate] =
        ["server.key", "server.crt"].map(|name| dir.path().join(name).display().to_string());
    // Redis cannot report a port that the system has chosen.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    drop(listener);
    let password = ["--requirepass", "p@ss", "--bind", "127.0.0.1", "--tls-auth-clients", "no"];
    let tls = ["--tls-port", &port, "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let Some(server) = RedisServer::start(&[password, tls].concat()).await else { return };

    let url = format!("rediss://:p%40ss@localhost:{port}/3");
    let sessions = Sessions::new(&url.parse().unwrap());
    let error = sessions.get(&SessionId::random().unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("certificate") && !error.contains("p%40ss"), "{error}");
    let test = std::thread::current().name().unwrap().to_owned();
    let mut connect = std::process::Command::new(std::env::current_exe().unwrap());
    connect.args([&test, "--exact"]).env(URL, &url).env("SSL_CERT_FILE", certificate);
    let connected = connect.output().unwrap();
    assert!(connected.status.success(), "{}", String::from_utf8_lossy(&connected.stdout));
    let size = std::process::Command::new("redis-cli")
        .args(["-a", "p@ss", "-n", "3", "-s"])
        .arg(server.dir.path().join("redis.sock"))
        .arg("DBSIZE")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&size.stdout).trim(), "1");
}

#[tokio::test(start_paused = true)]
async fn a_redis_that_does_not_answer_is_an_error_within_seconds() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = format!("redis://{}", listener.local_addr().unwrap()).parse().unwrap();
    let sessions = Sessions::new(&backend);
    let ids = [SessionId::random().unwrap(), SessionId::random().unwrap()];
    let start = tokio::time::Instant::now();
    let (one, two) = tokio::join!(sessions.get(&ids[0]), sessions.get(&ids[1]));
    for result in [one, two] {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
    assert!(start.elapsed() < Duration::from_secs(4));
}
