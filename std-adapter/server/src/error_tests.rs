//! Tests that the text of an error and the text of its source have nothing in common.

use std::error::Error as StdError;
use std::io;

use datakit_core::vfs::Error;

use crate::listen_error;
use crate::tree::CommandError;

/// An error whose text does not contain its cause.
#[derive(Debug)]
struct Outer(std::fmt::Error);

impl std::fmt::Display for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("outer")
    }
}

impl StdError for Outer {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn each_text_of_a_chain_is_printed_once() {
    let in_use = io::Error::from(io::ErrorKind::AddrInUse);
    let plain: [Box<dyn StdError>; 2] = [
        Box::new(listen_error("tcp://localhost:1", in_use)),
        Box::new(CommandError::from(Error::NotFound)),
    ];
    for error in plain {
        assert!(error.source().is_none(), "{error:?}");
    }
    // The chain continues with the first cause that the text does not contain.
    let error = listen_error("tcp://localhost:1", io::Error::other(Outer(std::fmt::Error)));
    let cause = error.source().unwrap().to_string();
    assert_eq!(cause, std::fmt::Error.to_string());
    assert!(!error.to_string().contains(&cause), "{error}");
}
