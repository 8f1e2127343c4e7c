//! A page request from a visitor who is allowed to read the page.

use axum::RequestPartsExt;
use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::auth::{Admin, Builder, CsrfToken, Reader};
use super::{WebState, assets, urls};

/// The data for the layout that all pages share.
#[derive(Debug)]
pub(super) struct Visit {
    /// The username, or `None` if the visitor is not logged in.
    pub(super) user: Option<String>,
    /// The token for forms, or `None` if the visitor is not allowed to rebuild and cancel.
    pub(super) csrf: Option<String>,
    pub(super) is_admin: bool,
    /// The path and the query of the page.
    pub(super) here: String,
    pub(super) style_url: String,
    pub(super) script_url: String,
}

impl Visit {
    /// Returns the path and query, encoded for use in a query.
    pub(super) fn here_encoded(&self) -> String {
        urls::encode_query(&self.here)
    }
}

impl FromRequestParts<WebState> for Visit {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Visit, Response> {
        let reader = parts.extract_with_state::<Reader, _>(state).await;
        let reader = reader.map_err(IntoResponse::into_response)?;
        let builder = parts.extract_with_state::<Option<Builder>, _>(state).await;
        let builder = builder.map_err(IntoResponse::into_response)?;
        let admin = parts.extract_with_state::<Option<Admin>, _>(state).await;
        let admin = admin.map_err(IntoResponse::into_response)?;
        // A token requires a cookie, which visitors do not need unless they see a form.
        let csrf = match builder {
            None => None,
            Some(_) => {
                let token = parts.extract_with_state::<CsrfToken, _>(state).await;
                let token = token.map_err(IntoResponse::into_response)?;
                Some(token.as_str().to_owned())
            }
        };
        let original = parts.extensions.get::<OriginalUri>();
        let uri = original.map_or(&parts.uri, |OriginalUri(uri)| uri);
        let here = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Visit {
            user: reader.user.map(|user| user.name().to_owned()),
            csrf,
            is_admin: admin.is_some(),
            here: urls::local_or_home(here).to_owned(),
            style_url: assets::style_url(),
            script_url: assets::script_url(),
        })
    }
}
