//! A small cache of tables and decompressed clusters, shared by the images of a chain.

use crate::field::wide;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most entries, so that finding the oldest one stays cheap.
const ENTRIES_MAX: usize = 256;

/// Which file ([`crate::file::HostFile::number`]), and where in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) file: u64,
    pub(crate) offset: u64,
}

/// Bytes by key, bounded in number and size; the least recently used go first.
pub(crate) struct Cache {
    inner: Mutex<Inner>,
    bytes_max: u64,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<Key, (Arc<[u8]>, u64)>,
    clock: u64,
    bytes: u64,
}

impl Cache {
    /// Returns an empty cache for `bytes_max` bytes.
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { inner: Mutex::default(), bytes_max }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what is known under `key`.
    pub(crate) fn get(&self, key: Key) -> Option<Arc<[u8]>> {
        let mut inner = self.lock();
        inner.clock = inner.clock.saturating_add(1);
        let clock = inner.clock;
        let (bytes, used) = inner.entries.get_mut(&key)?;
        *used = clock;
        Some(Arc::clone(bytes))
    }

    /// Keeps `bytes` under `key`, in place of what was used longest ago.
    pub(crate) fn put(&self, key: Key, bytes: Arc<[u8]>) {
        let mut inner = self.lock();
        inner.clock = inner.clock.saturating_add(1);
        let clock = inner.clock;
        let length = wide(bytes.len());
        if let Some((old, _)) = inner.entries.insert(key, (bytes, clock)) {
            inner.bytes = inner.bytes.saturating_sub(wide(old.len()));
        }
        inner.bytes = inner.bytes.saturating_add(length);
        while inner.entries.len() > ENTRIES_MAX || (inner.bytes > self.bytes_max && inner.entries.len() > 1) {
            let oldest = inner.entries.iter().min_by_key(|(_, (_, used))| *used);
            let Some(oldest) = oldest.map(|(key, _)| *key) else {
                break;
            };
            if let Some((old, _)) = inner.entries.remove(&oldest) {
                inner.bytes = inner.bytes.saturating_sub(wide(old.len()));
            }
        }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("bytes_max", &self.bytes_max).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn key(file: u64, offset: u64) -> Key {
        Key { file, offset }
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let cache = Cache::new(30);
        for offset in 0..3 {
            cache.put(key(0, offset), Arc::from([0; 10]));
        }
        assert!(cache.get(key(0, 0)).is_some());
        cache.put(key(0, 3), Arc::from([0; 10]));
        assert!(cache.get(key(0, 1)).is_none());
        assert!(cache.get(key(0, 0)).is_some() && cache.get(key(0, 3)).is_some());
        cache.put(key(1, 0), Arc::from([0; 100]));
        assert!(cache.get(key(1, 0)).is_some() && cache.get(key(0, 0)).is_none());
    }
}
