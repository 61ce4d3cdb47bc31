//! Who asks, how often, and whether they have asked that before.

use super::{Api, Shared};
use crate::credential::{Credential, Scope};
use crate::{Director, keys};
use airlock_console::Problem;
use airlock_console::guard::{Answers, Repeat, address, answer_once, bearer, peer, with_whole_body};
use airlock_console::journal::Seen;
use airlock_console::token::digest_of;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Instant;

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

/// Answers a POST that came before with the same key as it was answered then.
pub(super) async fn repeated(State(api): State<Shared>, request: Request, next: Next) -> Response {
    let asker = request.extensions().get::<Asker>().map(|asker| asker.credential.id.clone());
    answer_once(Arc::new(Kept(Arc::clone(&api.director))), asker, request, next).await
}

/// Answers in the ledger, sealed: some hold secrets.
struct Kept(Arc<Director>);

impl Answers for Kept {
    fn begin(&self, request: &Repeat) -> Result<Seen, Problem> {
        let now = (self.0.clock)();
        match self.0.ledger.begin_request(&request.id, &request.digest, now).map_err(super::problem)? {
            Seen::Answered(status, sealed) => {
                let answer = keys::unwrap(&request.sealing, request.id.as_bytes(), &sealed)
                    .ok_or_else(|| Problem::conflict("the answer was given to another credential"))?;
                Ok(Seen::Answered(status, answer.to_vec()))
            }
            seen => Ok(seen),
        }
    }

    fn end(&self, request: &Repeat, answer: Option<(u16, &[u8])>) -> Result<(), Problem> {
        let sealed =
            answer.map(|(status, body)| (status, keys::wrap(&request.sealing, request.id.as_bytes(), body)));
        let sealed = sealed.as_ref().map(|(status, body)| (*status, body.as_slice()));
        self.0.ledger.end_request(&request.id, sealed).map_err(super::problem)
    }
}
