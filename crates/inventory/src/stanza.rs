//! Records of `Name: value` lines, one behind the other.

/// A record, and where it begins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stanza<'s> {
    pub(crate) offset: u64,
    lines: &'s str,
}

impl<'s> Stanza<'s> {
    /// Returns the value of a field, without what is continued on further lines.
    pub(crate) fn get(&self, name: &str) -> Option<&'s str> {
        self.find(|key| key.eq_ignore_ascii_case(name))
    }

    /// Returns the value of a field whose name is written just so.
    pub(crate) fn get_exact(&self, name: &str) -> Option<&'s str> {
        self.find(|key| key == name)
    }

    fn find(&self, wanted: impl Fn(&str) -> bool) -> Option<&'s str> {
        let field = |line: &'s str| {
            let (key, value) = line.split_once(':')?;
            wanted(key).then(|| value.trim())
        };
        self.lines.lines().find_map(field)
    }
}

/// Returns the records of a text, which empty lines divide.
pub(crate) fn stanzas(text: &str) -> impl Iterator<Item = Stanza<'_>> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = text.get(offset..).filter(|rest| !rest.is_empty())?;
            let length = rest.find("\n\n").map_or(rest.len(), |end| end + 1);
            let start = offset;
            offset += length + usize::from(length < rest.len());
            let lines = rest.get(..length)?;
            if !lines.trim().is_empty() {
                let begin = lines.len() - lines.trim_start_matches('\n').len();
                return Some(Stanza { offset: (start + begin) as u64, lines: lines.get(begin..)? });
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_know_where_they_begin() {
        let text = "A: 1\nB: two\n more\n\n\nA:3\n\n";
        let found: Vec<_> = stanzas(text).map(|one| (one.offset, one.get("a"), one.get("b"))).collect();
        assert_eq!(found, [(0, Some("1"), Some("two")), (20, Some("3"), None)]);
        assert_eq!(stanzas("").count() + stanzas("\n\n\n").count(), 0);
    }
}
