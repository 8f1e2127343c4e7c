//! A fake of GitHub as a program: `github_fake [ADDRESS]`.
//!
//! Prints the root of the API and the root of the control interface, one a line, and serves until
//! its standard input ends.

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
