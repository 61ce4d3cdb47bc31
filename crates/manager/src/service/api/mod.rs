//! What a manager is asked over HTTP.
//!
//! Whoever has a token may do everything: a manager belongs to one site. Every handler hands the work to a
//! thread that may block, and gives the answer.

mod document;
mod events;
mod guard;
mod sources;
#[cfg(test)]
mod tests;
mod transfers;

pub use document::openapi;

use super::{Manager, ServiceError as Error};
use airlock_console::{PageQuery, Problem, Rates};
use axum::Router;
use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Requests that an asker may make at once, and then each second.
const RATE: (u32, u32) = (400, 100);
/// The same for all of one address that do not show who they are.
const RATE_OF_STRANGERS: (u32, u32) = (60, 10);
/// Readers of events at once.
const READERS_MAX: usize = 64;

/// What the handlers share.
pub(crate) struct Api {
    manager: Arc<Manager>,
    rates: Rates,
    rates_of_strangers: Rates,
    readers: Arc<Semaphore>,
}

type Shared = Arc<Api>;

impl Api {
    /// Runs what blocks on a thread that may.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Manager) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Problem> {
        let manager = Arc::clone(&self.manager);
        match tokio::task::spawn_blocking(move || work(&manager)).await {
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

/// Answers with a page.
async fn list<T: Send + 'static>(
    api: &Api,
    query: PageQuery,
    read: impl FnOnce(&Manager, &str, u32) -> Result<Vec<T>, Error> + Send + 'static,
    id: impl Fn(&T) -> String,
) -> Result<axum::Json<airlock_console::Page<T>>, Problem> {
    let limit = query.limit().ok_or_else(|| Problem::malformed("limit is a number from 1 to 200"))?;
    let items = api.run(move |manager| read(manager, query.after(), limit + 1)).await?;
    Ok(axum::Json(airlock_console::Page::new(items, limit, id)))
}

/// Returns the routes of a manager.
pub(crate) fn router(manager: &Arc<Manager>) -> Router {
    let api = Arc::new(Api {
        manager: Arc::clone(manager),
        rates: Rates::new(RATE.0, RATE.1),
        rates_of_strangers: Rates::new(RATE_OF_STRANGERS.0, RATE_OF_STRANGERS.1),
        readers: Arc::new(Semaphore::new(READERS_MAX)),
    });
    let known = Router::new()
        .route("/sources", get(sources::list_sources).post(sources::create_source))
        .route("/sources/{id}", get(sources::get_source).delete(sources::delete_source))
        .route("/sources/{id}/rescan", post(sources::rescan_source))
        .route("/vms", get(sources::list_vms))
        .route("/vms/{id}", get(sources::get_vm))
        .route("/destinations", get(sources::list_destinations).post(sources::create_destination))
        .route("/destinations/{id}", get(sources::get_destination).delete(sources::delete_destination))
        .route("/transfers", get(transfers::list_transfers).post(transfers::create_transfer))
        .route("/transfers/{id}", get(transfers::get_transfer))
        .route("/transfers/{id}/pause", post(transfers::pause_transfer))
        .route("/transfers/{id}/resume", post(transfers::resume_transfer))
        .route("/transfers/{id}/cancel", post(transfers::cancel_transfer))
        .route("/transfers/{id}/evidence", get(transfers::get_evidence))
        .route("/waves", get(transfers::list_waves).post(transfers::create_wave))
        .route("/waves/{id}", get(transfers::get_wave))
        .route("/policy", get(transfers::get_policy))
        .route("/events", get(events::watch_events))
        .route_layer(from_fn_with_state(Arc::clone(&api), guard::repeated))
        .route_layer(from_fn_with_state(Arc::clone(&api), guard::known));
    let open = Router::new()
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
