//! The plain bytes of what arrived last, in memory only and of bounded size.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// Bytes of frames that are kept.
const RECENT_BYTES: usize = 32 << 20;
/// Frames that are kept for the next ones.
const SPARE_MAX: usize = 4;

/// Frames that arrived last, by the chunks that they brought.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    bytes: usize,
    frames: VecDeque<(Arc<Vec<u8>>, Vec<u32>)>,
    chunks: HashMap<u32, (Arc<Vec<u8>>, Range<usize>)>,
    spare: Vec<Vec<u8>>,
}

impl Recent {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }

    /// Keeps a frame that brought these chunks, and lets go of the oldest ones. Returns a vector for
    /// the next frame.
    pub(crate) fn keep(&self, frame: Vec<u8>, chunks: Vec<(u32, Range<usize>)>) -> Vec<u8> {
        let mut inner = self.inner();
        let frame = Arc::new(frame);
        inner.bytes += frame.capacity();
        let mut numbers = Vec::with_capacity(chunks.len());
        for (number, range) in chunks {
            numbers.push(number);
            inner.chunks.insert(number, (Arc::clone(&frame), range));
        }
        inner.frames.push_back((frame, numbers));
        while inner.bytes > RECENT_BYTES {
            let Some((frame, numbers)) = inner.frames.pop_front() else { break };
            inner.bytes -= frame.capacity();
            for number in numbers {
                if inner.chunks.get(&number).is_some_and(|(other, _)| Arc::ptr_eq(other, &frame)) {
                    inner.chunks.remove(&number);
                }
            }
            // Somebody may be reading it; then it is freed by them.
            if let Ok(frame) = Arc::try_unwrap(frame)
                && inner.spare.len() < SPARE_MAX
            {
                inner.spare.push(frame);
            }
        }
        inner.spare.pop().unwrap_or_default()
    }

    /// Calls `read` with the bytes of a chunk, if they are still there. Returns whether they are.
    pub(crate) fn read(&self, chunk: u32, read: impl FnOnce(&[u8])) -> bool {
        let found = self.inner().chunks.get(&chunk).cloned();
        let bytes = found.as_ref().and_then(|(frame, range)| frame.get(range.clone()));
        bytes.map(read).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_the_newest_stay() {
        let recent = Recent::default();
        for number in 0..40_u32 {
            let frame = vec![u8::try_from(number).unwrap(); 4 << 20];
            recent.keep(frame, vec![(number, 10..20)]);
            assert!(recent.inner().bytes <= RECENT_BYTES);
        }
        let mut seen = Vec::new();
        assert!(recent.read(39, |bytes| seen.extend_from_slice(bytes)));
        assert_eq!(seen, [39; 10]);
        assert!(!recent.read(0, |_| ()));
        assert_eq!(recent.inner().chunks.len(), RECENT_BYTES / (4 << 20));
    }
}
