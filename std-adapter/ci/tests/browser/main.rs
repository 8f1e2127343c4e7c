//! Tests for the pages in a real browser. The tests do nothing if Chromium or its driver is not
//! installed. If the `AXE_CORE` variable contains the path of `axe.min.js` from the `axe-core` npm
//! package, the pages are also checked for accessibility. Screenshots of the pages are stored in
//! the directory named by `BROWSER_PICTURES`, if the variable is set.
// The Clippy configuration allows panics in tests, but not in helper functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg(feature = "program")]

mod driver;
mod site;

use driver::Browser;
use serde_json::Value;
use site::{EVIL, Site};

const PASSWORD: &str = "correct horse battery";

/// Starts a browser and a CI server, or returns `None` if there is no browser.
async fn start() -> Option<(Browser, Site)> {
    let Some(browser) = Browser::start().await else {
        println!("skipped: chromium or chromedriver is not installed");
        return None;
    };
    let site = Site::start().await;
    site.fill().await;
    Some((browser, site))
}

/// Sets the password of `admin`, which also logs the user in.
async fn set_up_admin(browser: &Browser, site: &Site) {
    browser.open(&site.intro).await;
    browser.fill("#new", PASSWORD).await;
    browser.fill("#again", PASSWORD).await;
    browser.click("main form button").await;
    browser.wait_for("location.pathname === '/settings'").await;
}

async fn log_in(browser: &Browser, site: &Site, user: &str, back: &str) {
    browser.open(&format!("{}/auth/login?back={back}", site.url)).await;
    browser.fill("#user", user).await;
    browser.fill("#password", PASSWORD).await;
    browser.click("main form button").await;
    browser.wait_for(&format!("location.pathname === '{back}'")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn builder_watches_cancels_and_rebuilds() {
    let Some((browser, site)) = start().await else { return };
    set_up_admin(&browser, &site).await;
    browser.open(&format!("{}/me/app/ref/heads/master?test=deploy", site.url)).await;
    browser.wait_for("document.querySelector('.logview').innerText.includes('deploying')").await;
    // The log grows while the page is open.
    let log = site.log("heads/master");
    log.write("step one\n\x1b[31mred <b>text</b>\x1b[0m\nunfinished");
    browser.wait_for("document.querySelector('.tail').innerText.includes('step one')").await;
    browser
        .wait_for("document.querySelector('.tail .fg-red').innerText === 'red <b>text</b>'")
        .await;
    browser.wait_for("document.querySelector('.rest').innerText === 'unfinished'").await;
    // The page follows the end of the log.
    for line in 0..300 {
        log.write(&format!(" line {line}\n"));
    }
    browser.wait_for("document.querySelector('.tail').innerText.includes('line 299')").await;
    let at_end = "(v => v.scrollHeight - v.scrollTop - v.clientHeight < 5)(document.querySelector('.logview'))";
    browser.wait_for(at_end).await;
    // Cancelling ends the build, and the page shows the new state without a reload.
    browser.click("form[action^='/cancel/run-of-deploy'] button").await;
    browser.wait_for("document.body.innerText.includes(\"Cancelled at user's request\")").await;
    // The log page of a finished build has a rebuild button.
    browser.open(&format!("{}/me/app/ref/heads/fix/c%2B%2B?test=deploy", site.url)).await;
    browser.wait_for("document.querySelector('.logview[data-events]')").await;
    site.release(5);
    browser.wait_for("document.querySelector('main').innerText.includes('deploy passed')").await;
    browser.click("form[action^='/log/rebuild/run-of-deploy'] button").await;
    browser
        .wait_for("document.querySelector('tr.selected .badge').innerText.includes('pending')")
        .await;
    site.release(1);
    browser
        .wait_for("document.querySelector('tr.selected .badge').innerText.includes('passed')")
        .await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_step_leads_to_its_line() {
    let Some((browser, site)) = start().await else { return };
    browser.open(&site.url).await;
    browser.click("a.job.failure").await;
    browser.wait_for("document.querySelector('.pipeline')").await;
    // The picture links to the failing step's log.
    browser.click(".pipeline a[href*='run-of-unit']").await;
    browser.wait_for("location.pathname.startsWith('/log/saved/run-of-unit')").await;
    browser.fill("#q", "assertion").await;
    browser.click(".filter button").await;
    browser.click(".found a").await;
    browser
        .wait_for("document.querySelector('.line:target').innerText.includes('src/parse.rs:17')")
        .await;
    assert!(browser.path().await.contains("#L"));
    // A collapsed step opens when a link to one of its lines is followed.
    let fold = "document.querySelectorAll('details').forEach(d => d.open = false); location.hash = ''; location.hash = '#L9'";
    browser.run(fold).await;
    browser.wait_for("document.querySelector('#L9').closest('details').open").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_complete_without_scripts() {
    let Some((browser, site)) = start().await else { return };
    browser.disable_scripts(true).await;
    for (path, text) in [
        ("/", "heads/broken"),
        ("/me/app/ref/heads/broken", "assertion failed at src/parse.rs:17"),
        ("/waiting", "documentation"),
        ("/log/live/run-of-deploy-me-app-heads-master", "deploying"),
    ] {
        browser.open(&format!("{}{path}", site.url)).await;
        let text = text.trim_start_matches("heads/");
        assert!(browser.text().await.contains(text), "{path}: {}", browser.text().await);
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn user_without_the_role_is_told_so() {
    let Some((browser, site)) = start().await else { return };
    set_up_admin(&browser, &site).await;
    browser.fill("#user", "bob").await;
    browser.fill("#new", PASSWORD).await;
    browser.fill("#again", PASSWORD).await;
    browser.click("form[action='/settings/users'] button").await;
    browser.wait_for("document.body.innerText.includes('bob')").await;
    browser.open(&format!("{}/user/profile", site.url)).await;
    browser.click("form[action='/auth/logout'] button").await;
    // Opening another page too early would cancel the request.
    browser.wait_for("location.pathname !== '/user/profile'").await;
    log_in(&browser, &site, "bob", "/branch").await;
    browser.open(&format!("{}/me/app/ref/heads/master?test=deploy", site.url)).await;
    assert_eq!(browser.run("return document.querySelectorAll('main form').length").await, 0);
    // A request that only builders are allowed to send is rejected.
    browser.open(&format!("{}/user/profile", site.url)).await;
    browser
        .run(
            "const form = document.querySelector('form[action=\"/auth/logout\"]'); \
             form.action = '/cancel/run-of-deploy-me-app-heads-master'; form.submit()",
        )
        .await;
    browser.wait_for("location.pathname === '/error/permission-denied'").await;
    assert!(browser.text().await.contains("do not have permission"));
    browser.open(&format!("{}/settings", site.url)).await;
    browser.wait_for("location.pathname === '/error/permission-denied'").await;
    browser.close().await;
}

/// A script that searches tables for short names and durations, and returns those that wrap onto a
/// second line.
const BROKEN_WORDS: &str = "return [...document.querySelectorAll('tbody th a, td time')]
    .filter(item => item.textContent.length < 12 && item.getClientRects().length > 1)
    .map(item => item.textContent)";

/// The pages and the names of their screenshots.
fn pages() -> Vec<(String, &'static str)> {
    let evil: String = EVIL.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let evil = evil.replace("%2F", "/");
    [
        ("/branch", "visitor"),
        ("/auth/login", "login"),
        ("/", "home"),
        ("/wall", "wall"),
        ("/pr", "list"),
        ("/branch?q=%3Cimg", "branches"),
        ("/waiting", "waiting"),
        ("/me/app/ref/heads/broken", "target"),
        ("/me/app/ref/heads/broken?history", "history"),
        ("/me/app/pr/8", "pull-request"),
        (&format!("/me/app/ref/heads/{evil}?test=check"), "evil"),
        ("/log/live/run-of-deploy-me-app-heads-master", "live-log"),
        ("/log/live/run-of-unit-me-app-heads-broken?q=test", "search"),
        ("/log/live/run-of-unit-me-app-heads-broken", "log"),
        ("/none", "not-found"),
        ("/error/permission-denied", "denied"),
        ("/user/profile", "profile"),
        ("/settings", "settings"),
    ]
    .into_iter()
    .map(|(path, name)| (path.to_owned(), name))
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_accessible_and_fit_narrow_and_wide_screens() {
    let Some((browser, site)) = start().await else { return };
    let axe = std::env::var("AXE_CORE").ok().map(|path| std::fs::read_to_string(path).unwrap());
    if axe.is_none() {
        println!("AXE_CORE is not set, so the accessibility is not checked");
    }
    let mut problems = Vec::new();
    for (path, name) in pages() {
        // The remaining pages show more to a user who has all permissions.
        if name == "home" {
            set_up_admin(&browser, &site).await;
        }
        for (width, is_dark) in [(1440, false), (1440, true), (360, false)] {
            browser.resize(width, is_dark).await;
            browser.open(&format!("{}{path}", site.url)).await;
            assert_eq!(browser.run("return window.evil === undefined").await, true, "{path}");
            let overflow =
                browser.run("return document.documentElement.scrollWidth - innerWidth").await;
            if overflow.as_i64().is_none_or(|pixels| pixels > 0) {
                problems.push(format!("{path} at {width}: {overflow} pixels too wide"));
            }
            let broken = browser.run(BROKEN_WORDS).await;
            if broken.as_array().is_none_or(|words| !words.is_empty()) {
                problems.push(format!("{path} at {width}: broken across lines: {broken}"));
            }
            let dark = if is_dark { "-dark" } else { "" };
            browser.picture(&format!("{name}-{width}{dark}")).await;
            if let Some(axe) = &axe {
                let found = browser.run_async(&format!("{axe}; axe.run().then(done)")).await;
                problems.extend(violations(&format!("{path} at {width}{dark}"), &found));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    browser.close().await;
}

fn violations(page: &str, found: &Value) -> Vec<String> {
    let list = found["violations"].as_array().unwrap_or_else(|| panic!("{page}: {found}"));
    let text = |violation: &Value| {
        let nodes = violation["nodes"].as_array().unwrap();
        let node = &nodes[0];
        format!("{page}: {}: {} {}", violation["id"], node["html"], node["failureSummary"])
    };
    list.iter().map(text).collect()
}
