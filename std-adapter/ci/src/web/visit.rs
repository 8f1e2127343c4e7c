//! A request for a page by a visitor who may read it.

use axum::RequestPartsExt;
use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::auth::{Admin, Builder, CsrfToken, Reader};
use super::{State, assets, urls};

/// The visitor, and what each page shows about the visitor.
#[derive(Debug)]
pub(super) struct Visit {
    /// The name of the user, or `None` if the visitor has not logged in.
    pub(super) user: Option<String>,
    /// The token for the forms, or `None` if the visitor may not rebuild and cancel.
    pub(super) csrf: Option<String>,
    pub(super) is_admin: bool,
    /// The path and the query of the page.
    pub(super) here: String,
    pub(super) style_url: String,
    pub(super) script_url: String,
}

impl Visit {
    /// Returns the page, encoded for a query.
    pub(super) fn here_encoded(&self) -> String {
        urls::encode_query(&self.here)
    }
}

impl FromRequestParts<State> for Visit {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Visit, Response> {
        let reader = parts.extract_with_state::<Reader, _>(state).await;
        let reader = reader.map_err(IntoResponse::into_response)?;
        let builder = parts.extract_with_state::<Option<Builder>, _>(state).await;
        let builder = builder.map_err(IntoResponse::into_response)?;
        let admin = parts.extract_with_state::<Option<Admin>, _>(state).await;
        let admin = admin.map_err(IntoResponse::into_response)?;
        // A token needs a cookie, which visitors who see no forms do not need.
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
