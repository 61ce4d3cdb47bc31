//! Several sources as one address space.

use airlock_disk::{BlockSource, Error, Format, Span};
use std::sync::Arc;

/// Sources one behind the other.
#[derive(Debug)]
pub(crate) struct Composite {
    /// Where each begins, and the source.
    parts: Vec<(u64, Arc<dyn BlockSource>)>,
    size: u64,
}

impl Composite {
    /// Puts sources one behind the other. The caller has checked that their sizes add up.
    pub(crate) fn new(sources: Vec<Arc<dyn BlockSource>>) -> Self {
        let mut size = 0_u64;
        let mut parts = Vec::with_capacity(sources.len());
        for source in sources {
            let start = size;
            size = size.saturating_add(source.size());
            parts.push((start, source));
        }
        Self { parts, size }
    }

    fn position(&self, offset: u64) -> usize {
        self.parts.partition_point(|(start, _)| *start <= offset).saturating_sub(1)
    }
}

impl BlockSource for Composite {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let length = buffer.len() as u64;
        if offset.checked_add(length).is_none_or(|end| end > self.size) {
            return Err(Error::OutOfRange { offset, length, size: self.size });
        }
        let (mut at, mut rest) = (offset, buffer);
        for (start, source) in self.parts.iter().skip(self.position(offset)) {
            if rest.is_empty() {
                break;
            }
            let within = at - start;
            let count = usize::try_from(source.size().saturating_sub(within)).unwrap_or(usize::MAX);
            let (part, behind) = rest.split_at_mut(count.min(rest.len()));
            if !part.is_empty() {
                source.read_at(within, part)?;
                at += part.len() as u64;
            }
            rest = behind;
        }
        Ok(())
    }

    fn span_at(&self, offset: u64) -> Result<Span, Error> {
        if offset >= self.size {
            return Err(Error::OutOfRange { offset, length: 1, size: self.size });
        }
        let (start, source) = &self.parts[self.position(offset)];
        source.span_at(offset - start)
    }

    /// The format of the first source; members have formats of their own.
    fn format(&self) -> Format {
        self.parts.first().map_or(Format::Raw, |(_, source)| source.format())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use airlock_disk::{OpenOptions, open};

    #[test]
    fn sources_are_read_across_their_edges() {
        let folder = tempfile::tempdir().unwrap();
        let source = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            open(&path, &OpenOptions { format: Some(Format::Raw), ..OpenOptions::default() }).unwrap().source
        };
        let all = Composite::new(vec![source("a", b"one"), source("b", b""), source("c", b"three")]);
        for start in 0..8 {
            for end in start..=8 {
                let mut bytes = vec![0; end - start];
                all.read_at(start as u64, &mut bytes).unwrap();
                assert_eq!(bytes, b"onethree"[start..end]);
            }
        }
        assert_eq!(all.span_at(3).unwrap().length, 5);
        assert!(all.read_at(8, &mut [0]).is_err());
    }
}
