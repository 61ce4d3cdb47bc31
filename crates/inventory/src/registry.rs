//! Windows registry hives: keys and values, read in place.
//!
//! The layout is that of Microsoft's `regf` 1.3 to 1.5 as the "Windows registry file format
//! specification" of M. Suhanov describes it. Transaction logs are not replayed: what a running
//! guest has not written into its hive yet is not seen.

use airlock_model::field::{le16, le32};

/// Bytes before the first bin; offsets of cells count from there.
const BASE_BYTES: usize = 4096;
/// Most subkeys of one key, and most values.
const ENTRIES_MAX: usize = 65_536;
/// How deep lists of subkeys refer to lists.
const LIST_DEPTH_MAX: usize = 4;
/// Longest value that is read; larger ones lie in several cells.
const VALUE_BYTES_MAX: usize = 16_344;

/// A hive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hive<'h> {
    bytes: &'h [u8],
}

/// A key of a hive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key<'h> {
    hive: Hive<'h>,
    /// Where in the file its record begins.
    pub(crate) offset: u64,
    cell: &'h [u8],
}

fn short(bytes: &[u8], at: usize) -> Option<usize> {
    le16(bytes, at).map(usize::from)
}

fn size(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(le32(bytes, at)?).ok()
}

impl<'h> Hive<'h> {
    /// Returns the root key of a hive.
    pub(crate) fn root(bytes: &'h [u8]) -> Option<Key<'h>> {
        if !bytes.starts_with(b"regf") {
            return None;
        }
        Self { bytes }.key(size(bytes, 0x24)?)
    }

    /// Returns the content of a cell.
    fn cell(self, offset: usize) -> Option<&'h [u8]> {
        let at = BASE_BYTES.checked_add(offset)?;
        let length = i32::from_le_bytes(*self.bytes.get(at..)?.first_chunk()?);
        // A cell in use has a negative length, which counts the length itself.
        let length = usize::try_from(length.checked_neg()?).ok()?;
        self.bytes.get(at.checked_add(4)?..at.checked_add(length)?)
    }

    fn key(self, offset: usize) -> Option<Key<'h>> {
        let cell = self.cell(offset)?;
        let found = cell.starts_with(b"nk").then_some(cell)?;
        Some(Key { hive: self, offset: (BASE_BYTES + offset) as u64, cell: found })
    }

    /// Adds the offsets of the keys in a list.
    fn list(self, offset: usize, depth: usize, into: &mut Vec<usize>) -> Option<()> {
        let cell = self.cell(offset)?;
        let count = short(cell, 2)?;
        let (step, inner) = match cell.get(..2)? {
            b"lf" | b"lh" => (8, false),
            b"li" => (4, false),
            b"ri" => (4, true),
            _ => return None,
        };
        for number in 0..count {
            let entry = size(cell, 4 + number * step)?;
            if into.len() >= ENTRIES_MAX {
                return None;
            }
            if !inner {
                into.push(entry);
            } else if depth < LIST_DEPTH_MAX {
                self.list(entry, depth + 1, into)?;
            }
        }
        Some(())
    }
}

impl Key<'_> {
    /// Returns the name of the key.
    pub(crate) fn name(&self) -> Option<String> {
        let length = short(self.cell, 72)?;
        let name = self.cell.get(76..76 + length)?;
        Some(text(name, short(self.cell, 2)? & 0x20 != 0))
    }

    /// Returns the subkeys, as far as they can be read.
    pub(crate) fn subkeys(&self) -> Vec<Self> {
        let mut offsets = Vec::new();
        if size(self.cell, 20).is_some_and(|count| count > 0)
            && let Some(list) = size(self.cell, 28)
        {
            // What was read before a damaged entry counts.
            let _ = self.hive.list(list, 0, &mut offsets);
        }
        offsets.into_iter().filter_map(|offset| self.hive.key(offset)).collect()
    }

    /// Returns the key at a path below this one; names are compared without case.
    pub(crate) fn at(&self, path: &str) -> Option<Self> {
        let mut key = *self;
        for part in path.split('\\') {
            let named = |one: &Self| one.name().is_some_and(|name| name.eq_ignore_ascii_case(part));
            key = key.subkeys().into_iter().find(named)?;
        }
        Some(key)
    }

    /// Returns the names of the values.
    pub(crate) fn values(&self) -> Vec<String> {
        let count = size(self.cell, 36).unwrap_or(0).min(ENTRIES_MAX);
        let Some(list) = size(self.cell, 40).and_then(|list| self.hive.cell(list)) else { return Vec::new() };
        let name = |number: usize| {
            let value = self.hive.cell(size(list, number * 4)?)?;
            let named = value.starts_with(b"vk").then(|| value.get(20..20 + short(value, 2)?))??;
            Some(text(named, short(value, 16)? & 1 != 0))
        };
        (0..count)
            .map_while(|number| if number * 4 < list.len() { Some(name(number)) } else { None })
            .flatten()
            .collect()
    }

    /// Returns the bytes of a value with their type.
    fn value(&self, name: &str) -> Option<(u32, Vec<u8>)> {
        let count = size(self.cell, 36)?.min(ENTRIES_MAX);
        let list = self.hive.cell(size(self.cell, 40)?)?;
        (0..count).find_map(|number| {
            let value = self.hive.cell(size(list, number * 4)?)?;
            let found = value.starts_with(b"vk").then_some(value)?;
            let named = found.get(20..20 + short(found, 2)?)?;
            if !text(named, short(found, 16)? & 1 != 0).eq_ignore_ascii_case(name) {
                return None;
            }
            let kind = le32(found, 12)?;
            let length = le32(found, 4)?;
            let bytes = if length & 0x8000_0000 != 0 {
                found.get(8..8 + usize::try_from(length & 0x7fff_ffff).ok()?.min(4))?
            } else {
                let length = usize::try_from(length).ok()?;
                if length > VALUE_BYTES_MAX {
                    return None;
                }
                self.hive.cell(size(found, 8)?)?.get(..length)?
            };
            Some((kind, bytes.to_vec()))
        })
    }

    /// Returns a value that is a text (`REG_SZ`, `REG_EXPAND_SZ`).
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let (kind, bytes) = self.value(name)?;
        let found = matches!(kind, 1 | 2).then(|| text(&bytes, false))?;
        Some(found.trim_end_matches('\0').to_owned())
    }

    /// Returns a value that is a number (`REG_DWORD`).
    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        let (kind, bytes) = self.value(name)?;
        if kind == 4 { le32(&bytes, 0) } else { None }
    }
}

/// Reads Latin 1, or UTF-16.
fn text(bytes: &[u8], narrow: bool) -> String {
    if narrow {
        return bytes.iter().map(|byte| char::from(*byte)).collect();
    }
    let (units, _) = bytes.as_chunks::<2>();
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit));
    char::decode_utf16(units).map(|one| one.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Writes a hive from keys and their texts and numbers.
    pub(crate) struct Builder(Vec<u8>);

    pub(crate) enum Value<'v> {
        Text(&'v str),
        Number(u32),
    }

    pub(crate) struct Node<'n> {
        pub(crate) name: &'n str,
        pub(crate) values: Vec<(&'n str, Value<'n>)>,
        pub(crate) keys: Vec<Node<'n>>,
    }

    impl Builder {
        pub(crate) fn build(root: &Node<'_>) -> Vec<u8> {
            let mut builder = Self(vec![0; BASE_BYTES]);
            builder.0.extend(b"hbin");
            builder.0.resize(BASE_BYTES + 32, 0);
            let at = builder.node(root);
            builder.0[..4].copy_from_slice(b"regf");
            builder.0[0x24..0x28].copy_from_slice(&at.to_le_bytes());
            builder.0
        }

        fn cell(&mut self, content: &[u8]) -> u32 {
            let at = u32::try_from(self.0.len() - BASE_BYTES).unwrap();
            let length = (content.len() + 4).next_multiple_of(8);
            self.0.extend((-i32::try_from(length).unwrap()).to_le_bytes());
            self.0.extend(content);
            self.0.resize(BASE_BYTES + usize::try_from(at).unwrap() + length, 0);
            at
        }

        fn node(&mut self, node: &Node<'_>) -> u32 {
            let keys: Vec<u32> = node.keys.iter().map(|key| self.node(key)).collect();
            let values: Vec<u8> = node.values.iter().flat_map(|one| self.value(one).to_le_bytes()).collect();
            let list = {
                let half = keys.len() / 2;
                let lists = [&keys[..half], &keys[half..]].map(|keys| {
                    let count = u16::try_from(keys.len()).unwrap().to_le_bytes();
                    let entries = keys.iter().flat_map(|key| [key.to_le_bytes(), [0; 4]].concat());
                    self.cell(&[b"lh".as_slice(), &count, &entries.collect::<Vec<u8>>()].concat())
                });
                let lists: Vec<u8> = lists.iter().flat_map(|list| list.to_le_bytes()).collect();
                self.cell(&[b"ri".as_slice(), &2_u16.to_le_bytes(), &lists].concat())
            };
            let value_list = self.cell(&values);
            let mut nk = vec![0; 76];
            nk[..2].copy_from_slice(b"nk");
            nk[2] = 0x20;
            nk[20..24].copy_from_slice(&u32::try_from(keys.len()).unwrap().to_le_bytes());
            nk[28..32].copy_from_slice(&list.to_le_bytes());
            nk[36..40].copy_from_slice(&u32::try_from(node.values.len()).unwrap().to_le_bytes());
            nk[40..44].copy_from_slice(&value_list.to_le_bytes());
            nk[72..74].copy_from_slice(&u16::try_from(node.name.len()).unwrap().to_le_bytes());
            nk.extend(node.name.as_bytes());
            self.cell(&nk)
        }

        fn value(&mut self, (name, value): &(&str, Value<'_>)) -> u32 {
            let (kind, length, data) = match value {
                Value::Number(number) => (4_u32, 0x8000_0004, *number),
                Value::Text(text) => {
                    let bytes: Vec<u8> = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
                    (1, u32::try_from(bytes.len()).unwrap(), self.cell(&bytes))
                }
            };
            let mut vk = b"vk".to_vec();
            vk.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
            vk.extend(length.to_le_bytes());
            vk.extend(data.to_le_bytes());
            vk.extend(kind.to_le_bytes());
            vk.extend([1, 0, 0, 0]);
            vk.extend(name.as_bytes());
            self.cell(&vk)
        }
    }

    fn sample() -> Vec<u8> {
        let leaf = |name| Node {
            name,
            values: vec![("Text", Value::Text("gr\u{fc}n")), ("n", Value::Number(7))],
            keys: vec![],
        };
        let keys = vec![leaf("A"), leaf("Beta"), leaf("c")];
        Builder::build(&Node {
            name: "root",
            values: vec![],
            keys: vec![Node { name: "Soft", values: vec![], keys }],
        })
    }

    #[test]
    fn keys_and_values_are_found_whatever_their_case() {
        let bytes = sample();
        let root = Hive::root(&bytes).unwrap();
        let key = root.at("soft\\BETA").unwrap();
        assert_eq!((key.text("text").as_deref(), key.number("N")), (Some("gr\u{fc}n"), Some(7)));
        assert_eq!(root.at("soft").unwrap().subkeys().len(), 3);
        assert!(root.at("soft\\d").is_none() && key.text("n").is_none());
    }

    #[test]
    fn damage_ends_in_nothing() {
        let bytes = sample();
        for at in BASE_BYTES..bytes.len() {
            for value in [0, 0xff, 0x7f] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                let root = Hive::root(&damaged);
                let keys = root.map(|root| root.subkeys()).unwrap_or_default();
                let inner: usize = keys.iter().map(|key| key.subkeys().len()).sum();
                assert!(inner <= ENTRIES_MAX);
            }
        }
        for length in 0..bytes.len() {
            let _ = Hive::root(&bytes[..length]).and_then(|root| root.at("soft\\beta")?.text("text"));
        }
    }
}
