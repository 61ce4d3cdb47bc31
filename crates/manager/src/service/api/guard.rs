//! Who asks, and how often.

use super::{Api, Shared, problem};
use crate::service::Manager;
use airlock_console::guard::{Answers, Repeat, address, answer_once, bearer, peer, with_whole_body};
use airlock_console::journal::{self, Seen};
use airlock_console::token::digest_of;
use airlock_console::{Problem, Rates};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Instant;

/// Whoever asks: the SHA-256 of the token.
#[derive(Debug, Clone)]
pub(super) struct Asker(pub(super) String);

fn within_rate(rates: &Rates, asker: &str) -> Result<(), Problem> {
    rates.take(asker, Instant::now()).map_err(Problem::too_many)
}

/// Finds out who asks; nobody who is unknown gets further.
async fn find(api: &Api, token: Option<String>, address: &str) -> Result<Asker, Problem> {
    if let Some(digest) = token {
        let asked = digest.clone();
        if api.run(move |manager| manager.store.knows_token(&asked)).await? {
            within_rate(&api.rates, &digest)?;
            return Ok(Asker(digest));
        }
    }
    within_rate(&api.rates_of_strangers, address)?;
    Err(Problem::unauthenticated("a bearer token is needed"))
}

/// Lets in who is known, and reads what is asked.
pub(super) async fn known(State(api): State<Shared>, mut request: Request, next: Next) -> Response {
    let (token, address) = (bearer(request.headers()).map(digest_of), address(peer(&request).as_ref()));
    match find(&api, token, &address).await {
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
    let asker = request.extensions().get::<Asker>().map(|asker| asker.0.clone());
    answer_once(Arc::new(Kept(Arc::clone(&api.manager))), asker, request, next).await
}

/// Answers in the database. None of them holds a secret, so they are kept as they are.
struct Kept(Arc<Manager>);

impl Answers for Kept {
    fn begin(&self, request: &Repeat) -> Result<Seen, Problem> {
        let now = (self.0.clock)();
        journal::begin_request(&mut self.0.store.lock(), &request.id, &request.digest, now)
            .map_err(|error| problem(error.into()))
    }

    fn end(&self, request: &Repeat, answer: Option<(u16, &[u8])>) -> Result<(), Problem> {
        journal::end_request(&self.0.store.lock(), &request.id, answer).map_err(|error| problem(error.into()))
    }
}
