//! Files whose bytes are not simply their blocks.

use crate::field::{narrow, wide, word};
use airlock_model::{Packed, Reason, Run};

/// Lists that belong to some of the nodes, in the order of the nodes.
#[derive(Debug)]
pub(crate) struct ByNode<T> {
    /// Node, and where its part of `items` begins.
    begins: Vec<(u32, u32)>,
    items: Vec<T>,
}

/// The content of files that lies inside metadata, such as inodes: where on the volume it lies.
/// Here a run's `disk` counts from the first byte of the volume.
pub(crate) type Views = ByNode<Run>;

/// What the stored streams of packed files unpack to.
pub(crate) type Packs = ByNode<Packed>;

/// For files whose bytes are not what they stand for, why.
pub(crate) type Reasons = ByNode<Reason>;

/// For files that were not written to their end, how many bytes were: the others read as zeros.
pub(crate) type Valid = ByNode<u64>;

impl<T> Default for ByNode<T> {
    fn default() -> Self {
        Self { begins: Vec::new(), items: Vec::new() }
    }
}

impl<T> ByNode<T> {
    /// Adds the items of a node, which is behind all that were added before.
    pub(crate) fn push(&mut self, node: u32, items: impl IntoIterator<Item = T>) {
        debug_assert!(self.begins.last().is_none_or(|(last, _)| *last < node), "nodes in order");
        self.begins.push((node, word(wide(self.items.len()))));
        self.items.extend(items);
    }

    /// Returns how many items there are.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns all items.
    pub(crate) fn items(&self) -> &[T] {
        &self.items
    }

    /// Returns the nodes, each with the position of its first item and all of its items.
    pub(crate) fn lists(&self) -> impl Iterator<Item = (u32, usize, &[T])> {
        self.begins.iter().map(|&(node, first)| (node, narrow(u64::from(first)), self.of(node)))
    }

    /// Inserts items behind those at these positions, which are in ascending order.
    pub(crate) fn insert(&mut self, behind: Vec<(usize, T)>) {
        let count = self.items.len().saturating_add(behind.len());
        let old = std::mem::replace(&mut self.items, Vec::with_capacity(count));
        let mut begins = self.begins.iter_mut().peekable();
        let mut behind = behind.into_iter().peekable();
        for (at, item) in old.into_iter().enumerate() {
            let now = word(wide(self.items.len()));
            while let Some((_, first)) = begins.next_if(|(_, first)| narrow(u64::from(*first)) <= at) {
                *first = now;
            }
            self.items.push(item);
            while let Some((_, more)) = behind.next_if(|(position, _)| *position <= at) {
                self.items.push(more);
            }
        }
        for (_, first) in begins {
            *first = word(wide(self.items.len()));
        }
    }

    /// Returns the items of a node.
    pub(crate) fn of(&self, node: u32) -> &[T] {
        let Ok(at) = self.begins.binary_search_by_key(&node, |(node, _)| *node) else {
            return &[];
        };
        let start = self.begins.get(at).map_or(0, |(_, begin)| narrow(u64::from(*begin)));
        let next = self.begins.get(at.saturating_add(1));
        let end = next.map_or(self.items.len(), |(_, begin)| narrow(u64::from(*begin)));
        self.items.get(start..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_found_by_their_node() {
        let mut list = ByNode::default();
        list.push(3, [1, 2]);
        list.push(5, []);
        list.push(9, [3]);
        let of = |node| list.of(node).to_vec();
        assert_eq!([of(2), of(3), of(5), of(9), of(10)], [vec![], vec![1, 2], vec![], vec![3], vec![]]);
        let lists = |list: &ByNode<i32>| -> Vec<_> {
            list.lists().map(|(node, first, items)| (node, first, items.to_vec())).collect()
        };
        assert_eq!(lists(&list), [(3, 0, vec![1, 2]), (5, 2, vec![]), (9, 2, vec![3])]);
        list.insert(vec![(0, 7), (0, 8), (2, 9)]);
        assert_eq!(lists(&list), [(3, 0, vec![1, 7, 8, 2]), (5, 4, vec![]), (9, 4, vec![3, 9])]);
    }
}
