//! Reading requests, with problems for those that cannot be read.

use crate::Problem;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Most bytes of the body of a request.
const BODY_BYTES_MAX: usize = 256 << 10;
/// How long the body of a request may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// Reads the body of a request, within its limits of size and time.
pub async fn read_body(body: axum::body::Body) -> Result<Bytes, Problem> {
    match tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => {
            let title = format!("the body did not arrive whole, or has more than {BODY_BYTES_MAX} bytes");
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", title))
        }
        Err(_) => {
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body took too long to arrive"))
        }
    }
}

/// The JSON body of a request.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Json::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(JsonRejection::JsonDataError(error)) => Err(Problem::invalid(error.body_text())),
            Err(JsonRejection::MissingJsonContentType(_)) => {
                let title = "the body must be of type application/json";
                Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", title))
            }
            Err(error) => Err(Problem::malformed(error.body_text())),
        }
    }
}

/// What the query of a request asks for.
#[derive(Debug)]
pub struct Ask<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Ask<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(error) => Err(Problem::malformed(error.body_text())),
        }
    }
}
