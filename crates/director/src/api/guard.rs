//! Who asks, how often, and whether they have asked that before.

use super::{Api, Shared};
use crate::credential::{Credential, Scope, digest_of};
use crate::journal::Seen;
use crate::keys;
use airlock_console::{Peer, Problem, read_body};
use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::time::Instant;
use zeroize::Zeroizing;

/// The header by which a client says that a request is the same as before.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Most characters of such a key.
const KEY_CHARS_MAX: usize = 255;
/// Most bytes of an answer that is kept.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Whoever asks, by the credential that was shown.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) credential: Credential,
}

impl Asker {
    fn has(&self, scope: Scope) -> bool {
        self.credential.scopes.contains(&scope)
    }

    /// Says whether the provider asks.
    pub(crate) fn is_provider(&self) -> bool {
        self.credential.tenant.is_none() && self.has(Scope::Provider)
    }

    /// Returns whose things the asker may look at: of one tenant, or of all (nothing).
    pub(crate) fn viewer(&self) -> Result<Option<String>, Problem> {
        match &self.credential.tenant {
            None if self.is_provider() => Ok(None),
            Some(tenant) if self.has(Scope::TenantRead) || self.has(Scope::TenantAdmin) => {
                Ok(Some(tenant.clone()))
            }
            _ => Err(Problem::forbidden("the credential is not good for looking at this")),
        }
    }

    /// Returns the tenant whose VMs the asker may move or look at; of all, for the provider (nothing).
    pub(crate) fn site(&self) -> Result<Option<String>, Problem> {
        match &self.credential.tenant {
            Some(tenant) if self.has(Scope::Transfer) => Ok(Some(tenant.clone())),
            _ => self.viewer(),
        }
    }

    /// Returns whose things the asker may change.
    pub(crate) fn admin(&self) -> Result<Option<String>, Problem> {
        match &self.credential.tenant {
            None if self.is_provider() => Ok(None),
            Some(tenant) if self.has(Scope::TenantAdmin) => Ok(Some(tenant.clone())),
            _ => Err(Problem::forbidden("the credential is not good for changing this")),
        }
    }

    /// Refuses everybody but the provider.
    pub(crate) fn provider(&self) -> Result<(), Problem> {
        if self.is_provider() { Ok(()) } else { Err(Problem::forbidden("only the provider does this")) }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get().cloned().ok_or_else(|| Problem::unauthenticated("a credential is needed"))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn peer(request: &Request) -> Option<Peer> {
    request.extensions().get::<Peer>().cloned()
}

fn address(peer: Option<&Peer>) -> String {
    peer.map_or_else(String::new, |peer| peer.address.ip().to_string())
}

fn within_rate(rates: &airlock_console::Rates, asker: &str) -> Result<(), Problem> {
    rates.take(asker, Instant::now()).map_err(Problem::too_many)
}

/// The SHA-256 of what was shown.
enum Shown {
    Token(String),
    Certificate(String),
}

fn shown(request: &Request) -> Option<Shown> {
    if request.headers().contains_key(header::AUTHORIZATION) {
        return bearer(request.headers()).map(|token| Shown::Token(digest_of(token)));
    }
    peer(request)?.certificate.map(Shown::Certificate)
}

/// Finds out who asks; nobody who is unknown gets further.
async fn find(api: &Api, shown: Option<Shown>, address: &str) -> Result<Asker, Problem> {
    let is_token = matches!(shown, Some(Shown::Token(_)));
    let shown = shown.map(|(Shown::Token(digest) | Shown::Certificate(digest))| digest);
    let found = match shown {
        Some(digest) => {
            api.run(move |director| {
                let found = director.ledger.credential_with(&digest)?;
                let now = (director.clock)();
                Ok(found.map(|credential| (credential.invalid_at(now), credential)))
            })
            .await?
        }
        None => None,
    };
    let right = |kind| is_token == (kind == crate::credential::CredentialKind::Token);
    match found {
        Some((None, credential)) if right(credential.kind) => {
            within_rate(&api.rates, &credential.id)?;
            Ok(Asker { credential })
        }
        // Who guesses is slowed down; who only lost a token hears why.
        other => {
            within_rate(&api.rates_of_strangers, address)?;
            let why =
                other.and_then(|(why, _)| why).unwrap_or("a bearer token or a client certificate is needed");
            Err(Problem::unauthenticated(why))
        }
    }
}

/// Lets in who is known, and reads what is asked.
pub(super) async fn known(State(api): State<Shared>, mut request: Request, next: Next) -> Response {
    let (shown, address) = (shown(&request), address(peer(&request).as_ref()));
    match find(&api, shown, &address).await {
        Ok(asker) => {
            request.extensions_mut().insert(asker);
            with_whole_body(request, next).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Lets in everybody, but not too often.
pub(super) async fn stranger(State(api): State<Shared>, request: Request, next: Next) -> Response {
    match within_rate(&api.rates_of_strangers, &address(peer(&request).as_ref())) {
        Ok(()) => with_whole_body(request, next).await,
        Err(problem) => problem.into_response(),
    }
}

async fn with_whole_body(request: Request, next: Next) -> Response {
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

/// Answers a POST that came before with the same key as it was answered then.
pub(super) async fn repeated(State(api): State<Shared>, request: Request, next: Next) -> Response {
    match repeat(&api, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn repeat(api: &Api, request: Request, next: Next) -> Result<Response, Problem> {
    let Some(given) = request.headers().get(IDEMPOTENCY_KEY).filter(|_| request.method() == Method::POST)
    else {
        return Ok(next.run(request).await);
    };
    let given = given.to_str().ok().filter(|key| (1..=KEY_CHARS_MAX).contains(&key.len()));
    let given =
        given.ok_or_else(|| Problem::malformed("an idempotency key has 1 to 255 printable characters"))?;
    let asker = request.extensions().get::<Asker>().map(|asker| asker.credential.id.clone());
    let asker = asker.ok_or_else(Problem::internal)?;
    // The key is not kept, and what is kept opens only with it: answers may hold secrets.
    let secret =
        Zeroizing::new(format!("{asker}\n{given}\n{}", bearer(request.headers()).unwrap_or_default()));
    let id = digest_of(&format!("{asker}\n{given}"));
    let sealing =
        Zeroizing::new(blake3::derive_key("airlock 2026-11 answer to a repeated request", secret.as_bytes()));
    let (parts, body) = request.into_parts();
    let body = read_body(body).await?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(parts.uri.path().as_bytes()).update(b"\n").update(&body);
    let digest = hasher.finalize().to_hex().to_string();
    let own = id.clone();
    match api.run(move |director| director.ledger.begin_request(&own, &digest, (director.clock)())).await? {
        Seen::New => {}
        Seen::InWork => return Err(Problem::conflict("a request with this idempotency key is in work")),
        Seen::Other => {
            let title = "this idempotency key came with another request";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key", title));
        }
        Seen::Answered(status, sealed) => {
            let answer = keys::unwrap(&sealing, id.as_bytes(), &sealed)
                .ok_or_else(|| Problem::conflict("the answer was given to another credential"))?;
            return Ok(answer_of(status, &answer));
        }
    }
    // Should the client go away, the request is done and kept all the same.
    let director = std::sync::Arc::clone(&api.director);
    let working = tokio::spawn(async move {
        let response = next.run(Request::from_parts(parts, Body::from(body))).await;
        let (parts, body) = response.into_parts();
        let status = parts.status;
        let body = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await.unwrap_or_default();
        let kept = body.clone();
        let keep = move || {
            let sealed = keys::wrap(&sealing, id.as_bytes(), &kept);
            // What failed is tried again, and who asks too often asks again.
            let for_good = !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS;
            director.ledger.end_request(&id, for_good.then_some((status.as_u16(), &sealed)))
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
