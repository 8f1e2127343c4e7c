//! Controls Chromium through `chromedriver`.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use fantoccini::elements::Element;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use url::{ParseError, Url};

/// The time limit for scripts and for waiting for a condition.
const LIMIT: Duration = Duration::from_secs(60);

/// A headless browser.
pub(crate) struct Browser {
    client: Client,
    _driver: Driver,
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
                .and_then(|rest| rest.trim_end_matches('.').parse::<u16>().ok())
        });
        // The driver is killed on drop if the browser cannot be started.
        let driver = Driver(driver);
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
        let capabilities = [
            ("goog:chromeOptions".to_owned(), options),
            ("timeouts".to_owned(), json!({ "script": 60_000 })),
        ];
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities.into_iter().collect());
        let client = builder.connect(&format!("http://127.0.0.1:{}", port.unwrap())).await;
        Some(Browser { client: client.unwrap(), _driver: driver, _profile: profile })
    }

    /// Opens a page and waits until it is loaded.
    pub(crate) async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// Runs a script and returns its result.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Runs a script that calls the `done` function with its result.
    pub(crate) async fn run_async(&self, script: &str) -> Value {
        let script = format!("const done = arguments[0]; {script}");
        self.client.execute_async(&script, Vec::new()).await.unwrap()
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
    /// before it is clicked.
    pub(crate) async fn click(&self, selector: &str) {
        for _ in 0..10 {
            match self.find(selector).await.click().await {
                Ok(()) => return,
                Err(error) if error.is_stale_element_reference() => {}
                Err(error) => panic!("{selector}: {error}"),
            }
        }
        panic!("{selector} is always replaced");
    }

    /// Types text into the first element that matches a selector.
    pub(crate) async fn fill(&self, selector: &str, text: &str) {
        self.find(selector).await.send_keys(text).await.unwrap();
    }

    /// Waits until an element matches a selector.
    async fn find(&self, selector: &str) -> Element {
        let found = self.client.wait().at_most(LIMIT).for_element(Locator::Css(selector)).await;
        found.unwrap_or_else(|error| panic!("{selector}: {error}"))
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

    /// Sets the width of the page in pixels, and whether to prefer a dark color scheme.
    pub(crate) async fn resize(&self, width: u32, is_dark: bool) {
        let metrics =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        let scheme = if is_dark { "dark" } else { "light" };
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": [feature] })).await;
    }

    /// Sets whether scripts are disabled from now on.
    pub(crate) async fn disable_scripts(&self, is_disabled: bool) {
        self.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": is_disabled }))
            .await;
    }

    async fn devtools(&self, name: &'static str, parameters: Value) -> Value {
        self.client.issue_cmd(DevTools { name, parameters }).await.unwrap()
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
        self.client.close().await.unwrap();
    }
}

/// The `chromedriver` process, which is killed on drop.
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Chrome DevTools Protocol command that has no equivalent in WebDriver.
#[derive(Debug)]
struct DevTools {
    name: &'static str,
    parameters: Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        let body = json!({ "cmd": self.name, "params": self.parameters });
        (Method::POST, Some(body.to_string()))
    }
}

fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let files = names.iter().flat_map(|name| dirs.iter().map(move |dir| dir.join(name)));
    files.into_iter().find(|file| file.is_file())
}
