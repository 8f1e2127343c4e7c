//! The address of a client.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::session::Session;

/// The client's address, or `None` if the request was not received over a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PeerAddr(pub(super) Option<IpAddr>);

impl<S: Send + Sync> FromRequestParts<S> for PeerAddr {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<PeerAddr, Infallible> {
        let socket = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let address = socket.map(|info| info.0.ip().to_canonical());
        let session = parts.extensions.get::<Session>();
        let proxies = session.map(|session| &session.auth().0.options.trusted_proxies[..]);
        let client = address.map(|address| client(address, &parts.headers, proxies.unwrap_or(&[])));
        Ok(PeerAddr(client))
    }
}

/// Returns the last address that does not belong to a trusted proxy. Each proxy appends the address
/// of its client, so earlier addresses can be forged.
fn client(address: IpAddr, headers: &HeaderMap, proxies: &[IpAddr]) -> IpAddr {
    let values = headers.get_all("x-forwarded-for").iter().rev();
    let texts = values.filter_map(|value| value.to_str().ok());
    let mut forwarded = texts.flat_map(|text| text.rsplit(','));
    let mut client = address;
    while proxies.contains(&client) {
        match forwarded.next().and_then(|text| text.trim().parse::<IpAddr>().ok()) {
            Some(address) => client = address.to_canonical(),
            None => break,
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_can_name_the_client() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "6.6.6.6, 1.1.1.1".parse().unwrap());
        headers.append("x-forwarded-for", "10.0.0.2".parse().unwrap());
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        let proxies = [parse("10.0.0.1"), parse("10.0.0.2")];
        for (from, expected) in
            [("9.9.9.9", "9.9.9.9"), ("10.0.0.1", "1.1.1.1"), ("10.0.0.2", "1.1.1.1")]
        {
            assert_eq!(client(parse(from), &headers, &proxies), parse(expected));
        }
        assert_eq!(client(proxies[0], &HeaderMap::new(), &proxies), proxies[0]);
        headers.insert("x-forwarded-for", "6.6.6.6, nonsense".parse().unwrap());
        assert_eq!(client(proxies[0], &headers, &proxies), proxies[0]);
    }
}
