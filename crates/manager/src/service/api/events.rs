//! Events as they happen (server-sent events of HTML).

use super::Shared;
use airlock_console::journal;
use airlock_console::watch::{EVENTS_AT_ONCE, Since, one_more, tell};
use airlock_console::{Ask, Problem};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use std::sync::Arc;

/// Tells what happens: `id` is the number, `event` the kind, `data` the event as JSON. Numbers have no
/// gaps; a reader that sees one was away for more than 10,000 events.
#[utoipa::path(get, path = "/api/v1/events", tag = "events",
    params(("since" = Option<u64>, Query), ("Last-Event-ID" = Option<u64>, Header)),
    responses((status = 200, content_type = "text/event-stream", body = String),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn watch_events(
    State(api): State<Shared>,
    Ask(query): Ask<Since>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let permit = one_more(&api.readers)?;
    let after = match query.last_seen(&headers)? {
        Some(last) => last,
        None => api.run(|manager| Ok(journal::last_event(&manager.store.lock(), "")?)).await?,
    };
    let read = move |after| {
        let api = Arc::clone(&api);
        async move {
            let read = api
                .run(move |manager| Ok(journal::events(&manager.store.lock(), "", after, EVENTS_AT_ONCE)?));
            read.await.ok()
        }
    };
    Ok(tell(after, permit, read))
}
