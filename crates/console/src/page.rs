//! Lists in pages, with a cursor.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Most items of a page.
pub const LIMIT_MAX: u32 = 200;
const LIMIT_DEFAULT: u32 = 50;

/// Which page is wanted.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// The cursor that came with the page before.
    #[param(max_length = 128)]
    pub cursor: Option<String>,
    /// Most items, 50 if not said.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<u32>,
}

impl PageQuery {
    /// Returns the id that the page begins behind.
    pub fn after(&self) -> &str {
        self.cursor.as_deref().unwrap_or_default()
    }

    /// Returns the number of items, or nothing if it is not from 1 to [`LIMIT_MAX`].
    pub fn limit(&self) -> Option<u32> {
        Some(self.limit.unwrap_or(LIMIT_DEFAULT)).filter(|limit| (1..=LIMIT_MAX).contains(limit))
    }
}

/// Some items of a list, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The cursor of the next page; nothing after the last.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page of up to one item more than `limit`; that one only tells that there are more.
    pub fn new(mut items: Vec<T>, limit: u32, id: impl Fn(&T) -> String) -> Self {
        let limit = limit as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(id);
        Self { items, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_whether_there_are_more() {
        let check = |items: &[u8], expected: (&[u8], Option<&str>)| {
            let page = Page::new(items.to_vec(), 2, u8::to_string);
            assert_eq!((&page.items[..], page.next.as_deref()), expected);
        };
        check(&[], (&[], None));
        check(&[1, 2], (&[1, 2], None));
        check(&[1, 2, 3], (&[1, 2], Some("2")));
        let limit = |limit| PageQuery { limit, ..PageQuery::default() }.limit();
        assert_eq!([None, Some(0), Some(200), Some(201)].map(limit), [Some(50), None, Some(200), None]);
    }
}
