//! Limits the time until a response starts.

use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;

use super::pages::error::error_page;

/// The maximum time until a response starts. Event streams start immediately, so they are not
/// limited.
const LIMIT: Duration = Duration::from_secs(30);

/// Ends a request that takes too long, for example because the database does not respond.
pub(super) async fn limit(request: Request, next: Next) -> Response {
    let response = tokio::time::timeout(LIMIT, next.run(request)).await;
    response.unwrap_or_else(|_| {
        let text = format!("The database did not respond within {} seconds.", LIMIT.as_secs());
        error_page(StatusCode::SERVICE_UNAVAILABLE, &text)
    })
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_database_that_never_answers_gives_an_error() {
        let never = get(async || std::future::pending::<()>().await);
        let router = Router::new().route("/", never).layer(from_fn(limit));
        let request = Request::get("/").body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
