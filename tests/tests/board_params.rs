//! Tests for the parameter client, using the board's tree served on the host.

use std::error::Error as _;

use datakit_client::params::{Error, Params};
use datakit_client::{Client, Options};
use datakit_core::vfs::StaticTree;
use datakit_core::wire::Dialect;
use datakit_firmware::board::ROOT;
use datakit_server::Limits;
use datakit_tests::board::PATHS;

#[tokio::test]
async fn parameters_of_the_board_are_listed_read_and_set() {
    let served = datakit_tests::serve(Limits::default(), |_| StaticTree::<24, 96>::new(&ROOT));
    let url = format!("tcp://{}", served.addr).parse().unwrap();
    for (dialect, has_text) in
        [(Dialect::Legacy, true), (Dialect::Unix, true), (Dialect::Linux, false)]
    {
        let client = Client::connect(&url, Options::default().dialect(dialect)).await.unwrap();
        let params = Params::new(client, "/params/");
        let walked = params.walk().await.unwrap();
        assert!(walked.iter().any(|path| path == "wave/shape"), "{walked:?}");
        for path in &walked {
            assert!(PATHS.contains(&&*format!("params/{path}")), "{path}");
        }
        params.set("wave/shape", "saw").await.unwrap();
        assert_eq!(params.get("wave/shape").await.unwrap(), "saw");
        params.set("wave/shape", "triangle").await.unwrap();

        let Error::Refused { path, reason } = params.set("blink/duty", "0").await.unwrap_err()
        else {
            panic!("the value is out of range")
        };
        assert_eq!(path, "blink/duty");
        if has_text {
            assert_eq!(reason, "\"0\" is not a whole number from 1 to 99 %");
        }
        let unknown = params.get("blink/dutty").await.unwrap_err();
        assert_eq!(unknown.to_string(), "blink/dutty: there is no such parameter");
        let is_a_directory = params.get("blink").await.unwrap_err();
        assert!(is_a_directory.source().is_some(), "{is_a_directory}");
        // Without a schema, only the board checks values.
        match params.schema().await {
            Ok(schema) => {
                let described = schema.parameters().iter().map(|parameter| &parameter.path);
                assert!(described.eq(walked.iter()), "{walked:?}");
            }
            Err(error) => assert!(matches!(error, Error::Missing { .. }), "{error}"),
        }
    }
}
