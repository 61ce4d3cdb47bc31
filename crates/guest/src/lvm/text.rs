//! The text format of LVM2 metadata (lvm2 sources, `libdm/libdm-config.c`; lvm.conf(5)).

use std::iter::Peekable;
use std::str::Chars;

/// Deepest nesting of sections; a volume group has four.
const DEPTH_MAX: usize = 8;

/// A section: fields and sections by name, in order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Section(Vec<(String, Item)>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Number(u64),
    Text(String),
    List(Vec<Item>),
    Section(Section),
}

impl Section {
    /// Parses a text; nothing if it is no such text or has more items than are left, which are
    /// then none.
    pub(crate) fn parse(text: &str, items_left: &mut usize) -> Option<Self> {
        let mut parser = Parser { chars: text.chars().peekable(), items_left };
        let section = parser.section(0)?;
        parser.chars.next().is_none().then_some(section)
    }

    fn item(&self, name: &str) -> Option<&Item> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, item)| item)
    }

    /// Returns a section in it.
    pub(crate) fn section(&self, name: &str) -> Option<&Self> {
        match self.item(name)? {
            Item::Section(section) => Some(section),
            _ => None,
        }
    }

    /// Returns the sections in it by name.
    pub(crate) fn sections(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.0.iter().filter_map(|(name, item)| match item {
            Item::Section(section) => Some((name.as_str(), section)),
            _ => None,
        })
    }

    /// Returns a number in it.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        match self.item(name)? {
            Item::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns a text in it; empty where there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        match self.item(name) {
            Some(Item::Text(text)) => text,
            _ => "",
        }
    }

    /// Returns the texts of a list in it.
    pub(crate) fn texts(&self, name: &str) -> Vec<&str> {
        self.list(name)
            .iter()
            .filter_map(|item| match item {
                Item::Text(text) => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }

    /// Returns the pairs of text and number of a list in it.
    pub(crate) fn pairs(&self, name: &str) -> Vec<(&str, u64)> {
        self.list(name)
            .chunks(2)
            .filter_map(|pair| match pair {
                [Item::Text(text), Item::Number(number)] => Some((text.as_str(), *number)),
                _ => None,
            })
            .collect()
    }

    fn list(&self, name: &str) -> &[Item] {
        match self.item(name) {
            Some(Item::List(list)) => list,
            _ => &[],
        }
    }
}

struct Parser<'t> {
    chars: Peekable<Chars<'t>>,
    items_left: &'t mut usize,
}

impl Parser<'_> {
    /// Counts an item.
    fn count(&mut self) -> Option<()> {
        *self.items_left = self.items_left.saturating_sub(1);
        (*self.items_left > 0).then_some(())
    }

    fn skip(&mut self) {
        while let Some(&char) = self.chars.peek() {
            if char == '#' {
                while self.chars.next().is_some_and(|char| char != '\n') {}
            } else if char.is_whitespace() || char == '\0' {
                self.chars.next();
            } else {
                return;
            }
        }
    }

    fn next_is(&mut self, wanted: char) -> bool {
        self.skip();
        let is = self.chars.peek() == Some(&wanted);
        if is {
            self.chars.next();
        }
        is
    }

    /// Reads fields and sections up to the end or to a brace that closes.
    fn section(&mut self, depth: usize) -> Option<Section> {
        let mut section = Section::default();
        loop {
            self.skip();
            match self.chars.peek() {
                None if depth == 0 => return Some(section),
                Some('}') if depth > 0 => return Some(section),
                None | Some('}') => return None,
                Some(_) => {}
            }
            self.count()?;
            let name = self.word()?;
            let item = if self.next_is('{') {
                if depth >= DEPTH_MAX {
                    return None;
                }
                let inner = self.section(depth.saturating_add(1))?;
                self.next_is('}').then_some(Item::Section(inner))?
            } else {
                self.next_is('=').then_some(())?;
                self.value()?
            };
            section.0.push((name, item));
        }
    }

    fn word(&mut self) -> Option<String> {
        self.skip();
        if self.chars.peek() == Some(&'"') {
            return self.string();
        }
        let mut word = String::new();
        while let Some(&char) = self.chars.peek() {
            if !(char.is_alphanumeric() || "_-.+/@:".contains(char)) {
                break;
            }
            word.push(char);
            self.chars.next();
        }
        (!word.is_empty()).then_some(word)
    }

    fn string(&mut self) -> Option<String> {
        self.chars.next();
        let mut text = String::new();
        loop {
            match self.chars.next()? {
                '"' => return Some(text),
                '\\' => text.push(self.chars.next()?),
                char => text.push(char),
            }
        }
    }

    fn value(&mut self) -> Option<Item> {
        if !self.next_is('[') {
            return self.scalar();
        }
        let mut list = Vec::new();
        while !self.next_is(']') {
            self.count()?;
            list.push(self.scalar()?);
            self.next_is(',');
        }
        Some(Item::List(list))
    }

    fn scalar(&mut self) -> Option<Item> {
        self.skip();
        if self.chars.peek() == Some(&'"') {
            return self.string().map(Item::Text);
        }
        let word = self.word()?;
        Some(word.parse().map_or(Item::Text(word), Item::Number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_numbers_texts_and_lists() {
        let text = r#"
            # a comment
            vg0 { id = "a-b" seqno = 3
                status = ["READ", "WRITE"]
                pv { stripes = [ "pv0", 0, "pv1", 25 ] name = "with \"quotes\"" }
            }
            contents = "Text"
        "#;
        let all = Section::parse(text, &mut 100).expect("a text");
        let group = all.section("vg0").expect("a section");
        assert_eq!((group.text("id"), group.number("seqno")), ("a-b", Some(3)));
        assert_eq!(group.texts("status"), ["READ", "WRITE"]);
        let pv = group.section("pv").expect("a section");
        assert_eq!(pv.pairs("stripes"), [("pv0", 0), ("pv1", 25)]);
        assert_eq!(pv.text("name"), "with \"quotes\"");
        for wrong in ["a {", "a = ", "a = [1, 2", "}", "a = \"b", "{", &"a {".repeat(20)] {
            assert_eq!(Section::parse(wrong, &mut 100), None, "{wrong}");
        }
        let mut left = 4;
        assert_eq!((Section::parse("a = [1, 2, 3]", &mut left), left), (None, 0));
    }
}
