//! A WebDriver client that controls Chromium through `chromedriver`.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::body::Body;
use base64::Engine;
use http_body_util::BodyExt;
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// The time limit for scripts and for waiting for a condition.
const LIMIT: Duration = Duration::from_secs(60);

/// A headless browser.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts a browser, or returns `None` if Chromium or its driver is not installed.
    pub(crate) async fn start() -> Option<Browser> {
        let chromium = find(&["chromium", "chromium-browser", "google-chrome"])?;
        find(&["chromedriver"])?;
        let mut command = Command::new("chromedriver");
        let mut driver =
            command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let output = BufReader::new(driver.stdout.take().unwrap());
        let port = output.lines().map_while(Result::ok).find_map(|line| {
            line.strip_prefix("ChromeDriver was started successfully on port ")
                .and_then(|rest| rest.trim_end_matches('.').parse().ok())
        });
        let profile = tempfile::tempdir().unwrap();
        let data = format!("--user-data-dir={}", profile.path().display());
        // Chromium's sandbox does not run as root.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--force-color-profile=srgb",
            &data,
        ];
        let options = json!({ "binary": chromium, "args": arguments });
        let wanted = json!({ "alwaysMatch": { "goog:chromeOptions": options } });
        let mut browser =
            Browser { driver, port: port.unwrap(), session: String::new(), _profile: profile };
        let created = browser.send("POST", "/session", json!({ "capabilities": wanted })).await;
        browser.session = created["sessionId"].as_str().unwrap().to_owned();
        Some(browser)
    }

    /// Sends a command and returns the `value` field of the response. Panics if the driver reports
    /// an error.
    async fn send(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.try_send(method, path, body).await;
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    async fn try_send(&self, method: &str, path: &str, body: Value) -> Result<Value, Value> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let body = if method == "GET" { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1")
            .header("content-type", "application/json")
            .body(body)
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        connection.abort();
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        if status.is_success() { Ok(value["value"].clone()) } else { Err(value["value"].clone()) }
    }

    async fn command(&self, name: &str, body: Value) -> Value {
        self.send("POST", &format!("/session/{}/{name}", self.session), body).await
    }

    /// Opens a page and waits until it is loaded.
    pub(crate) async fn open(&self, url: &str) {
        self.command("url", json!({ "url": url })).await;
    }

    /// Runs a script and returns its result.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.command("execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Runs a script that calls the `done` function with its result.
    pub(crate) async fn run_async(&self, script: &str) -> Value {
        let script = format!("const done = arguments[0]; {script}");
        self.command("timeouts", json!({ "script": 60_000 })).await;
        self.command("execute/async", json!({ "script": script, "args": [] })).await
    }

    /// Waits until an expression is true, even if the page is reloaded in the meantime.
    pub(crate) async fn wait_for(&self, expression: &str) {
        let waited = tokio::time::timeout(LIMIT, async {
            while self.run(&format!("return !!({expression})")).await != true {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        });
        if waited.await.is_err() {
            let text = self.run("return document.body.innerText").await;
            panic!("{expression} does not become true: {text}");
        }
    }

    /// Clicks the first element that matches a selector. Retries if the page replaces the element
    /// at the same time.
    pub(crate) async fn click(&self, selector: &str) {
        for _ in 0..10 {
            self.wait_for(&format!("document.querySelector({})", json!(selector))).await;
            let using = json!({ "using": "css selector", "value": selector });
            let found = self.command("element", using).await;
            let id = found.as_object().unwrap().values().next().unwrap().as_str().unwrap();
            let path = format!("/session/{}/element/{id}/click", self.session);
            match self.try_send("POST", &path, json!({})).await {
                Ok(_) => return,
                Err(error) if error["error"] == "stale element reference" => {}
                Err(error) => panic!("{selector}: {error}"),
            }
        }
        panic!("{selector} is always replaced");
    }

    /// Types text into the first element that matches a selector.
    pub(crate) async fn fill(&self, selector: &str, text: &str) {
        let using = json!({ "using": "css selector", "value": selector });
        let found = self.command("element", using).await;
        let id = found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        self.command(&format!("element/{id}/value"), json!({ "text": text })).await;
    }

    /// Returns the visible text of the page.
    pub(crate) async fn text(&self) -> String {
        self.run("return document.body.innerText").await.as_str().unwrap().to_owned()
    }

    /// Returns the path, query and fragment of the page's URL.
    pub(crate) async fn path(&self) -> String {
        let path = self.run("return location.pathname + location.search + location.hash").await;
        path.as_str().unwrap().to_owned()
    }

    /// Sets the width of the page in pixels, and whether to prefer a dark colour scheme.
    pub(crate) async fn resize(&self, width: u32, is_dark: bool) {
        let metrics =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        let scheme = if is_dark { "dark" } else { "light" };
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": [feature] })).await;
    }

    /// Disables scripts from now on.
    pub(crate) async fn disable_scripts(&self, is_disabled: bool) {
        self.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": is_disabled }))
            .await;
    }

    async fn devtools(&self, name: &str, parameters: Value) -> Value {
        self.command("goog/cdp/execute", json!({ "cmd": name, "params": parameters })).await
    }

    /// Stores a screenshot of the whole page in the directory named by `BROWSER_PICTURES`, if the
    /// variable is set.
    pub(crate) async fn picture(&self, name: &str) {
        let Some(dir) = std::env::var_os("BROWSER_PICTURES").map(PathBuf::from) else { return };
        let parameters = json!({ "captureBeyondViewport": true, "format": "png" });
        let picture = self.devtools("Page.captureScreenshot", parameters).await;
        let encoded = picture["data"].as_str().unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(format!("{name}.png")), bytes).unwrap();
    }

    /// Ends the browser.
    pub(crate) async fn close(self) {
        self.send("DELETE", &format!("/session/{}", self.session), json!({})).await;
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let files = names.iter().flat_map(|name| dirs.iter().map(move |dir| dir.join(name)));
    files.into_iter().find(|file| file.is_file())
}
