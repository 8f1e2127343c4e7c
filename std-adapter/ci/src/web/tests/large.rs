//! Measures requests for a log of 100 MB. The test is ignored by default, because it is slow in
//! unoptimized builds.

use std::time::Instant;

use super::logs::saved_url;
use super::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes long without optimization"]
async fn log_of_100_megabytes_is_shown_in_parts() {
    let site = Site::new(vec![("unit", passing(""))]).await;
    site.set_head("master", 1, JobStatus::Success).await;
    let mut text = String::from("=== Run unit\n");
    for line in 0.. {
        text.push_str(&format!("\x1b[32mline {line}\x1b[0m {}\n", "x".repeat(80)));
        if text.len() >= 100_000_000 {
            break;
        }
    }
    let branch = site.db.branch("large").await.unwrap();
    let transaction = branch.transaction().await.unwrap();
    transaction.create_file(&"log".parse().unwrap(), text.as_bytes(), false).await.unwrap();
    let commit = transaction.commit("large").await.unwrap().id();
    let url = super::super::urls::saved_log("large", &commit.to_string());
    assert_ne!(url, saved_url(&site));
    for (name, path) in [
        ("first page, with the index", url.clone()),
        ("next page", format!("{url}?page=2")),
        ("line 500000", format!("{url}?line=500000")),
        ("search to the end", format!("{url}?q=not%20there")),
    ] {
        let began = Instant::now();
        let page = site.page(&path).await;
        println!("{name}: {:?}, {} bytes", began.elapsed(), page.len());
        assert!(page.len() < 500_000);
    }
    let began = Instant::now();
    let raw = site.page(&format!("{url}?raw")).await;
    println!("download: {:?}, {} bytes", began.elapsed(), raw.len());
}
