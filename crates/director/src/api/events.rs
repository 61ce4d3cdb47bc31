//! Events as they happen (server-sent events of HTML).

use super::{Api, Asker, Shared};
use crate::journal::Event as Happened;
use airlock_console::{Ask, Problem};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// How often it is looked whether something happened, and whether the reader may still see it.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Events that are read at once, and that may wait for a slow reader.
const EVENTS_AT_ONCE: u32 = 100;

/// Where to begin.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Since {
    /// The number of the last event that was seen; the header `Last-Event-ID` goes before it. Without
    /// either, only what happens from now on is told.
    since: Option<u64>,
}

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
) -> Result<impl axum::response::IntoResponse, Problem> {
    let reader = asker.viewer()?.unwrap_or_default();
    let permit = Arc::clone(&api.readers).try_acquire_owned();
    let permit = permit.map_err(|_| {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many read events");
        Problem { retry_after: Some(5), ..problem }
    })?;
    let last = match headers.get("last-event-id") {
        Some(last) => {
            let last = last.to_str().ok().and_then(|last| last.parse().ok());
            Some(last.ok_or_else(|| Problem::malformed("Last-Event-ID is a number"))?)
        }
        None => query.since,
    };
    let after = if let Some(last) = last {
        last
    } else {
        let reader = reader.clone();
        api.run(move |director| director.ledger.last_event(&reader)).await?
    };
    let (sender, mut receiver) = mpsc::channel(EVENTS_AT_ONCE as usize);
    tokio::spawn(tell(api, asker, reader, after, sender, permit));
    let stream = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

/// Sends what happens until the reader is gone or may see no more.
async fn tell(
    api: Arc<Api>,
    asker: Asker,
    reader: String,
    mut after: u64,
    sender: mpsc::Sender<Result<Event, Infallible>>,
    _permit: OwnedSemaphorePermit,
) {
    let id = asker.credential.id;
    while !sender.is_closed() {
        let (own, credential) = (reader.clone(), id.clone());
        let read = api.run(move |director| {
            let found = director.ledger.credential(None, &credential)?;
            let good = found.is_some_and(|found| found.invalid_at((director.clock)()).is_none());
            if good { director.ledger.events(&own, after, EVENTS_AT_ONCE).map(Some) } else { Ok(None) }
        });
        let Ok(Some(events)) = read.await else { return };
        for event in &events {
            after = event.sequence;
            if sender.send(Ok(told(event))).await.is_err() {
                return;
            }
        }
        if events.is_empty() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

fn told(event: &Happened) -> Event {
    let data = serde_json::to_string(event).expect("plain data");
    Event::default().id(event.sequence.to_string()).event(&event.kind).data(data)
}
