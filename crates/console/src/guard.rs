//! What stands before every route: who asks, within which limits, and whether it was asked before.

use crate::journal::Seen;
use crate::token::digest_of;
use crate::{Peer, Problem, read_body};
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The header by which a client says that a request is the same as before.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Most characters of such a key.
const KEY_CHARS_MAX: usize = 255;
/// Most bytes of an answer that is kept.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Returns the bearer token of a request.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Returns who sent a request.
pub fn peer(request: &Request) -> Option<Peer> {
    request.extensions().get::<Peer>().cloned()
}

/// Returns the address that a request came from, without the port.
pub fn address(peer: Option<&Peer>) -> String {
    peer.map_or_else(String::new, |peer| peer.address.ip().to_string())
}

/// Reads the body before the request goes on, and keeps the answer out of every cache.
pub async fn with_whole_body(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match read_body(body).await {
        Ok(body) => {
            let mut response = next.run(Request::from_parts(parts, Body::from(body))).await;
            // Answers hold what is not everybody's, and sometimes secrets.
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(problem) => problem.into_response(),
    }
}

/// A request that may have come before, by its idempotency key.
#[derive(Debug, Clone)]
pub struct Repeat {
    /// Names it: the key itself is not kept.
    pub id: String,
    /// The BLAKE3 of what it asks for.
    pub digest: String,
    /// What an answer with secrets is to be sealed under: it can be had only with the same key and token.
    pub sealing: Zeroizing<[u8; 32]>,
}

/// Keeps the answers to requests; it may block.
pub trait Answers: Send + Sync + 'static {
    /// Takes a request into work unless it came before; an answer is given as it was kept.
    fn begin(&self, request: &Repeat) -> Result<Seen, Problem>;

    /// Keeps the answer to a request, or forgets the request so that it can be tried again.
    fn end(&self, request: &Repeat, answer: Option<(u16, &[u8])>) -> Result<(), Problem>;
}

/// Answers a POST of `asker` that came before with the same key as it was answered then.
pub async fn answer_once(
    answers: Arc<dyn Answers>,
    asker: Option<String>,
    request: Request,
    next: Next,
) -> Response {
    match once(answers, asker, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn once(
    answers: Arc<dyn Answers>,
    asker: Option<String>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let Some(given) = request.headers().get(IDEMPOTENCY_KEY).filter(|_| request.method() == Method::POST)
    else {
        return Ok(next.run(request).await);
    };
    let given = given.to_str().ok().filter(|key| (1..=KEY_CHARS_MAX).contains(&key.len()));
    let given =
        given.ok_or_else(|| Problem::malformed("an idempotency key has 1 to 255 printable characters"))?;
    let asker = asker.ok_or_else(Problem::internal)?;
    // The key is not kept, and what is kept opens only with it: answers may hold secrets.
    let token = bearer(request.headers()).unwrap_or_default();
    let secret = Zeroizing::new(format!("{asker}\n{given}\n{token}"));
    let id = digest_of(&format!("{asker}\n{given}"));
    let sealing =
        Zeroizing::new(blake3::derive_key("airlock 2026-11 answer to a repeated request", secret.as_bytes()));
    let (parts, body) = request.into_parts();
    let body = read_body(body).await?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(parts.uri.path().as_bytes()).update(b"\n").update(&body);
    let repeat = Repeat { id, digest: hasher.finalize().to_hex().to_string(), sealing };
    let (keeper, own) = (Arc::clone(&answers), repeat.clone());
    let begun = tokio::task::spawn_blocking(move || keeper.begin(&own)).await;
    match begun.map_err(|_| Problem::internal())?? {
        Seen::New => {}
        Seen::InWork => return Err(Problem::conflict("a request with this idempotency key is in work")),
        Seen::Full => return Err(Problem::conflict("too many idempotency keys are in use today")),
        Seen::Other => {
            let title = "this idempotency key came with another request";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key", title));
        }
        Seen::Answered(status, answer) => return Ok(answer_of(status, &answer)),
    }
    // Should the client go away, the request is done and kept all the same.
    let working = tokio::spawn(async move {
        let response = next.run(Request::from_parts(parts, Body::from(body))).await;
        let (parts, body) = response.into_parts();
        let status = parts.status;
        let body = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await.unwrap_or_default();
        let kept = body.clone();
        let keep = move || {
            // What failed is tried again, and who asks too often asks again.
            let for_good = !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS;
            answers.end(&repeat, for_good.then_some((status.as_u16(), kept.as_ref())))
        };
        match tokio::task::spawn_blocking(keep).await {
            Ok(Ok(())) => Response::from_parts(parts, Body::from(body)),
            _ => Problem::internal().into_response(),
        }
    });
    working.await.map_err(|_| Problem::internal())
}

fn answer_of(status: u16, body: &[u8]) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = if status.is_success() { "application/json" } else { "application/problem+json" };
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(kind))];
    (status, headers, body.to_vec()).into_response()
}
