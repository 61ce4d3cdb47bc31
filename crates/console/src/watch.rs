//! Events as they happen (server-sent events of HTML).

use crate::Problem;
use crate::journal::Event as Happened;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use serde::Deserialize;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// How often it is looked whether something happened, and whether the reader may still see it.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Events that are to be read at once, and that may wait for a slow reader.
pub const EVENTS_AT_ONCE: u32 = 100;

/// Where to begin.
#[derive(Debug, Default, Deserialize)]
pub struct Since {
    /// The number of the last event that was seen; the header `Last-Event-ID` goes before it. Without
    /// either, only what happens from now on is told.
    since: Option<u64>,
}

impl Since {
    /// Returns the number behind which to begin; nothing for the newest.
    pub fn last_seen(&self, headers: &HeaderMap) -> Result<Option<u64>, Problem> {
        let Some(last) = headers.get("last-event-id") else { return Ok(self.since) };
        let last = last.to_str().ok().and_then(|last| last.parse().ok());
        last.map(Some).ok_or_else(|| Problem::malformed("Last-Event-ID is a number"))
    }
}

/// Lets one more reader in.
pub fn one_more(readers: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(readers).try_acquire_owned().map_err(|_| {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many read events");
        Problem { retry_after: Some(5), ..problem }
    })
}

/// Tells what happens behind the number `after`, until the reader is gone or `read` gives nothing more: it
/// returns the events behind a number, at most [`EVENTS_AT_ONCE`], for as long as the reader may see them.
pub fn tell<R, F>(mut after: u64, permit: OwnedSemaphorePermit, read: R) -> impl IntoResponse
where
    R: Fn(u64) -> F + Send + 'static,
    F: Future<Output = Option<Vec<Happened>>> + Send,
{
    let (sender, mut receiver) = mpsc::channel::<Result<Event, Infallible>>(EVENTS_AT_ONCE as usize);
    tokio::spawn(async move {
        let _permit = permit;
        while !sender.is_closed() {
            let Some(events) = read(after).await else { return };
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
    });
    let stream = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
    Sse::new(stream).keep_alive(KeepAlive::default())
}

fn told(event: &Happened) -> Event {
    let data = serde_json::to_string(event).expect("plain data");
    Event::default().id(event.sequence.to_string()).event(&event.kind).data(data)
}
