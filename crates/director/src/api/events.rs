//! Events as they happen (server-sent events of HTML).

use super::{Asker, Shared};
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
    asker: Asker,
    Ask(query): Ask<Since>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let reader = asker.viewer()?.unwrap_or_default();
    let permit = one_more(&api.readers)?;
    let after = if let Some(last) = query.last_seen(&headers)? {
        last
    } else {
        let reader = reader.clone();
        api.run(move |director| director.ledger.last_event(&reader)).await?
    };
    let id = asker.credential.id;
    let read = move |after| {
        let (api, own, credential) = (Arc::clone(&api), reader.clone(), id.clone());
        async move {
            let read = api.run(move |director| {
                let found = director.ledger.credential(None, &credential)?;
                let good = found.is_some_and(|found| found.invalid_at((director.clock)()).is_none());
                if good { director.ledger.events(&own, after, EVENTS_AT_ONCE).map(Some) } else { Ok(None) }
            });
            read.await.ok().flatten()
        }
    };
    Ok(tell(after, permit, read))
}
