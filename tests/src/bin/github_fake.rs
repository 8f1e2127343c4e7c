//! Runs the fake GitHub server: `github_fake [ADDRESS]`.
//!
//! Prints the root URLs of the API and the control interface, one per line. Serves until standard
//! input is closed.

use std::io::Write;

use datakit_tests::github::Fake;

fn main() -> std::io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or("127.0.0.1:0".into());
    let fake = Fake::start_at(&addr)?;
    let mut out = std::io::stdout();
    writeln!(out, "{}\n{}", fake.url(), fake.control_url())?;
    out.flush()?;
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}
