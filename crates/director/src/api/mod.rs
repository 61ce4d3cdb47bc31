//! What a director is asked over HTTP.
//!
//! Every handler does three things: says which scope it needs, hands the work to a thread that may
//! block, and gives the answer. Whatever belongs to another tenant is not found, by the same query that
//! does not find what is not there.

mod credentials;
mod criteria;
mod document;
mod events;
mod guard;
mod tenants;
#[cfg(test)]
mod tests;
mod transfers;

use crate::tenancy::Page;
use crate::{Director, Error};
use airlock_console::{Problem, Rates};
use axum::Router;
use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post, put};
pub(crate) use guard::Asker;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Requests that an asker may make at once, and then each second.
const RATE: (u32, u32) = (400, 100);
/// The same for all of one address that do not show who they are.
const RATE_OF_STRANGERS: (u32, u32) = (60, 10);
/// Readers of events at once.
const READERS_MAX: usize = 256;

/// What the handlers share.
pub(crate) struct Api {
    director: Arc<Director>,
    /// The SHA-256 of the director's certificate.
    fingerprint: String,
    rates: Rates,
    rates_of_strangers: Rates,
    readers: Arc<Semaphore>,
}

type Shared = Arc<Api>;

impl Api {
    /// Runs what blocks on a thread that may.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Director) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Problem> {
        let director = Arc::clone(&self.director);
        match tokio::task::spawn_blocking(move || work(&director)).await {
            Ok(done) => done.map_err(problem),
            Err(_) => Err(Problem::internal()),
        }
    }
}

fn problem(error: Error) -> Problem {
    match error {
        Error::NotFound(_) => Problem::not_found(),
        Error::Conflict(why) => Problem::conflict(why),
        Error::Invalid(why) => Problem::invalid(why),
        Error::NotAuthorised(why) => Problem::forbidden(why),
        Error::Quota { .. } => Problem::new(StatusCode::CONFLICT, "quota", error.to_string()),
        error => {
            tracing::error!(error = &error as &dyn std::error::Error, "a request failed");
            Problem::internal()
        }
    }
}

/// The id in a path.
pub(crate) struct Id(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(_) => Err(Problem::not_found()),
        }
    }
}

/// Answers with a page of what the asker may see.
async fn list<T: Send + 'static>(
    api: &Api,
    asker: &Asker,
    query: airlock_console::PageQuery,
    read: impl FnOnce(&Director, Page<'_>) -> Result<Vec<T>, Error> + Send + 'static,
    id: impl Fn(&T) -> String,
) -> Result<axum::Json<airlock_console::Page<T>>, Problem> {
    let limit = query.limit().ok_or_else(|| Problem::malformed("limit is a number from 1 to 200"))?;
    let viewer = asker.viewer()?;
    let items = api.run(move |director| {
        let page = Page { tenant: viewer.as_deref(), after: query.after(), limit: limit + 1 };
        read(director, page)
    });
    Ok(axum::Json(airlock_console::Page::new(items.await?, limit, id)))
}

/// Returns the routes of a director whose certificate has this SHA-256.
pub(crate) fn router(director: &Arc<Director>, fingerprint: String) -> Router {
    let api = Arc::new(Api {
        director: Arc::clone(director),
        fingerprint,
        rates: Rates::new(RATE.0, RATE.1),
        rates_of_strangers: Rates::new(RATE_OF_STRANGERS.0, RATE_OF_STRANGERS.1),
        readers: Arc::new(Semaphore::new(READERS_MAX)),
    });
    let known = Router::new()
        .route("/tenants", get(tenants::list_tenants).post(tenants::create_tenant))
        .route("/tenants/{id}", get(tenants::get_tenant))
        .route("/vdcs", get(tenants::list_vdcs).post(tenants::create_vdc))
        .route("/vdcs/{id}", get(tenants::get_vdc))
        .route("/vdcs/{id}/quota", put(tenants::put_quota))
        .route(
            "/vdcs/{id}/policy",
            get(tenants::get_policy).put(tenants::put_policy).delete(tenants::delete_policy),
        )
        .route("/credentials", get(credentials::list_credentials).post(credentials::create_token))
        .route("/credentials/{id}", get(credentials::get_credential))
        .route("/credentials/{id}/rotate", post(credentials::rotate_credential))
        .route("/credentials/{id}/revoke", post(credentials::revoke_credential))
        .route("/pairings", post(credentials::create_pairing))
        .route("/transfers", get(transfers::list_transfers))
        .route("/transfers/{id}", get(transfers::get_transfer))
        .route("/transfers/{id}/pause", post(transfers::pause_transfer))
        .route("/transfers/{id}/resume", post(transfers::resume_transfer))
        .route("/transfers/{id}/cancel", post(transfers::cancel_transfer))
        .route("/transfers/{id}/evidence", get(transfers::get_evidence))
        .route("/vms", get(transfers::list_vms))
        .route("/vms/{id}", get(transfers::get_vm).delete(transfers::delete_vm))
        .route("/rules", get(criteria::list_rules))
        .route("/rules/{name}", get(criteria::get_rulebook))
        .route("/criteria", get(criteria::get_criteria))
        .route("/events", get(events::watch_events))
        .route_layer(from_fn_with_state(Arc::clone(&api), guard::repeated))
        .route_layer(from_fn_with_state(Arc::clone(&api), guard::known));
    let open = Router::new()
        .route("/pair", post(credentials::pair))
        .route("/openapi.json", get(document::get_document))
        .route_layer(from_fn_with_state(Arc::clone(&api), guard::stranger));
    Router::new()
        .nest("/api/v1", known.merge(open))
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "this is not done here")
        })
        .with_state(api)
}

pub use document::openapi;
