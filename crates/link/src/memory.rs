//! A link inside one process.

use crate::{Error, Link, Pace};
use airlock_transfer::Message;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Frames that may wait in one direction.
const FRAMES_WAITING_MAX: usize = 4;

/// One end of a link inside a process.
#[derive(Debug)]
pub struct MemoryLink {
    outgoing: SyncSender<(Message, Vec<u8>)>,
    incoming: Receiver<(Message, Vec<u8>)>,
    pace: Option<Arc<Pace>>,
}

impl MemoryLink {
    /// Keeps what it sends to a pace.
    #[must_use]
    pub fn paced(self, pace: Arc<Pace>) -> Self {
        Self { pace: Some(pace), ..self }
    }
}

/// Returns the two ends of a link.
pub fn pair() -> (MemoryLink, MemoryLink) {
    let (to_one, from_other) = sync_channel(FRAMES_WAITING_MAX);
    let (to_other, from_one) = sync_channel(FRAMES_WAITING_MAX);
    (
        MemoryLink { outgoing: to_one, incoming: from_one, pace: None },
        MemoryLink { outgoing: to_other, incoming: from_other, pace: None },
    )
}

impl Link for MemoryLink {
    fn send(&mut self, message: &Message, body: &[&[u8]]) -> Result<(), Error> {
        if let Some(pace) = &self.pace {
            pace.wait_for(body.iter().map(|piece| piece.len()).sum());
        }
        self.outgoing.send((message.clone(), body.concat())).map_err(|_| Error::Closed)
    }

    fn receive(&mut self, body: &mut Vec<u8>) -> Result<Message, Error> {
        let (message, bytes) = self.incoming.recv().map_err(|_| Error::Closed)?;
        *body = bytes;
        Ok(message)
    }
}
