//! Answers that say what went wrong (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request was not done, as `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem, for programs; it never changes for the same kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status of the answer.
    pub status: u16,
    /// Says what is wrong, for people.
    pub title: String,
    /// Seconds after which it is worth trying again.
    #[serde(skip)]
    pub retry_after: Option<u64>,
}

impl Problem {
    /// Makes a problem of a kind such as `not-found`.
    pub fn new(status: StatusCode, kind: &str, title: impl Into<String>) -> Self {
        let kind = format!("urn:airlock:problem:{kind}");
        Self { kind, status: status.as_u16(), title: title.into(), retry_after: None }
    }

    /// There is no such thing, or it is another's: the two are not told apart.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "there is no such thing")
    }

    /// The request cannot be understood.
    pub fn malformed(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", why)
    }

    /// The request is understood, and asks for something that cannot be.
    pub fn invalid(why: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", why)
    }

    /// Something is in the way.
    pub fn conflict(why: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", why)
    }

    /// Nobody who is known asks.
    pub fn unauthenticated(why: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", why)
    }

    /// Who asks may not do that.
    pub fn forbidden(why: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", why)
    }

    /// Too much at once; `seconds` later it may be tried again.
    pub fn too_many(seconds: u64) -> Self {
        let title = format!("too many requests; try again in {seconds} s");
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", title);
        Self { retry_after: Some(seconds), ..problem }
    }

    /// The site failed; why stands in its log.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the site failed; its log says why")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).expect("plain data");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"airlock\""));
        }
        response
    }
}
