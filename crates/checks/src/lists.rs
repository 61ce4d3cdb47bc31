//! Handing the lists of a site over to another process of the same program.

use crate::Rules;
use crate::exact::ExactList;
use crate::fingerprints::Prints;
use crate::malware::{Bodies, HashList};
use std::io::{Error, ErrorKind, Read, Result, Write};

/// Bytes that are read at once, so that a wrong length is found before there is memory for it.
const STEP_BYTES: usize = 1 << 20;

/// Memory of a signature, a generous mean.
const SIGNATURE_BYTES: u64 = 2 << 10;
/// Memory of the windows of objects that signatures look at, and of one in lower case.
const WINDOWS_BYTES: u64 = 72 << 20;

/// What rules have beside the built-in detectors.
#[derive(Debug)]
pub struct Lists {
    hashes: HashList,
    bodies: Bodies,
    exact: Vec<ExactList>,
    prints: Vec<Prints>,
}

impl Lists {
    /// Reads what [`Rules::hand_over_lists`] wrote in another process.
    pub fn take_over(from: &mut dyn Read) -> Result<Self> {
        let invalid = || Error::from(ErrorKind::InvalidData);
        let hashes = HashList::take_over(from)?;
        let mut bodies = Bodies::default();
        let text = |bytes| String::from_utf8(bytes).map_err(|_| Error::from(ErrorKind::InvalidData));
        bodies.load_extended(&text(read_bytes(from)?)?).map_err(|_| invalid())?;
        bodies.load_sections(&text(read_bytes(from)?)?).map_err(|_| invalid())?;
        let mut lists = Self { hashes, bodies, exact: Vec::new(), prints: Vec::new() };
        for _ in 0..read_u64(from)? {
            let mut key = zeroize::Zeroizing::new([0; 32]);
            from.read_exact(&mut *key)?;
            let list =
                ExactList::from_bytes(read_bytes(from)?, Some(&key)).map_err(|_| ErrorKind::InvalidData)?;
            lists.exact.push(list);
        }
        for _ in 0..read_u64(from)? {
            lists.prints.push(Prints::from_bytes(read_bytes(from)?).map_err(|_| invalid())?);
        }
        Ok(lists)
    }

    /// Puts the built-in detectors together with these lists.
    pub fn into_rules(self, fingerprint_key: [u8; 32]) -> Rules {
        Rules::new(fingerprint_key, self.hashes)
            .with_bodies(self.bodies)
            .with_exact(self.exact)
            .with_prints(self.prints)
    }
}

impl Rules {
    /// Writes all lists as [`Lists::take_over`] reads them. The form may change with every version.
    pub fn hand_over_lists(&self, into: &mut dyn Write) -> Result<()> {
        self.hashes().hand_over(into)?;
        let (extended, sections) = self.bodies().texts();
        write_bytes(extended.as_bytes(), into)?;
        write_bytes(sections.as_bytes(), into)?;
        into.write_all(&(self.exact().len() as u64).to_le_bytes())?;
        for list in self.exact() {
            into.write_all(list.key())?;
            write_bytes(list.bytes(), into)?;
        }
        into.write_all(&(self.prints().len() as u64).to_le_bytes())?;
        self.prints().iter().try_for_each(|set| write_bytes(set.bytes(), into))
    }

    /// Returns the memory that the lists take, in bytes, not counting hash lists.
    pub fn list_bytes(&self) -> u64 {
        let lists = self.exact().iter().map(ExactList::bytes).chain(self.prints().iter().map(Prints::bytes));
        let bodies = (self.bodies().len() as u64).saturating_mul(SIGNATURE_BYTES);
        lists.map(|bytes| bytes.len() as u64).fold(bodies, u64::saturating_add)
    }

    /// Returns the memory that each thread takes to look at objects by signatures, in bytes.
    pub fn window_bytes(&self) -> u64 {
        if self.bodies().is_empty() { 0 } else { WINDOWS_BYTES }
    }
}

fn write_bytes(bytes: &[u8], into: &mut dyn Write) -> Result<()> {
    into.write_all(&(bytes.len() as u64).to_le_bytes())?;
    into.write_all(bytes)
}

fn read_bytes(from: &mut dyn Read) -> Result<Vec<u8>> {
    let length = usize::try_from(read_u64(from)?).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let start = bytes.len();
        bytes.resize(start + STEP_BYTES.min(length - start), 0);
        from.read_exact(&mut bytes[start..])?;
    }
    Ok(bytes)
}

fn read_u64(from: &mut dyn Read) -> Result<u64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::{Column, ExactBuilder};
    use crate::fingerprints::PrintsBuilder;

    #[test]
    fn lists_are_the_same_on_the_other_side() {
        let mut exact = Vec::new();
        for apart in [false, true] {
            let columns = vec![Column { name: "account".into(), alone: true }];
            let mut builder = ExactBuilder::new("customers", columns, &[u8::from(apart); 32]).unwrap();
            builder.add([&b"KD20481234"[..]]).unwrap();
            let bytes = builder.finish(apart).unwrap();
            exact.push(ExactList::from_bytes(bytes, Some(&[u8::from(apart); 32])).unwrap());
        }
        let mut builder = PrintsBuilder::new([5; 8]);
        let text =
            (0..300_u32).map(|word| (word * 7919 % 1013).to_string()).collect::<Vec<_>>().join(" word");
        builder.add("plan.txt", text.as_bytes()).unwrap();
        let prints = Prints::from_bytes(builder.finish().unwrap()).unwrap();
        let rules = Rules::new([7; 32], HashList::default()).with_exact(exact).with_prints(vec![prints]);
        let mut bodies = Bodies::default();
        bodies.load_extended("Test.A:0:*:6162").unwrap();
        bodies.load_sections("3:900150983cd24fb0d6963f7d28e17f72:Test.B").unwrap();
        let rules = rules.with_bodies(bodies);
        let mut bytes = Vec::new();
        rules.hand_over_lists(&mut bytes).unwrap();
        assert!(rules.list_bytes() > 0);
        let there = Lists::take_over(&mut bytes.as_slice()).unwrap().into_rules([8; 32]);
        assert_eq!(there.content_digest(), rules.content_digest());
        assert_eq!((there.exact().len(), there.prints().len()), (2, 1));
        assert_eq!(there.bodies().len(), 2);
        assert!(Lists::take_over(&mut &bytes[..bytes.len() - 1]).is_err());
    }
}
