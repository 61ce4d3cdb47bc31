//! Who claims which blocks, and who has them in the end.

use crate::field::{narrow, word};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Owner of what belongs to the file system itself.
pub(crate) const NOBODY: u32 = u32::MAX;

/// The last block that a file can have.
const LOGICAL_MAX: u64 = (1 << 48) - 1;

/// What a claimed block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A file's data.
    Written,
    /// Allocated to a file and never written: reads as zeros, holds old bytes.
    Unwritten,
    /// The rest of a cluster that a file has a part of.
    Cluster,
    /// The file system's own.
    Metadata,
    /// Likewise: a log with changes that are not replayed.
    Log,
}

/// A claim on a run of blocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) block: u64,
    pub(crate) length: u32,
    /// First block in the file: the lower 32 of 48 bits.
    logical: u32,
    logical_high: u16,
    /// Number of the node that claims.
    pub(crate) owner: u32,
    pub(crate) role: Role,
}

impl Claim {
    /// Claims a run of blocks that begins at block `logical` of the file, which has 48 bits:
    /// no file system has files of more.
    pub(crate) fn new(owner: u32, role: Role, block: u64, length: u32, logical: u64) -> Self {
        let logical = logical.min(LOGICAL_MAX);
        let high = u16::try_from(logical >> 32).unwrap_or(u16::MAX);
        Self { block, length, logical: word(logical & 0xffff_ffff), logical_high: high, owner, role }
    }

    /// Returns the first block in the file.
    pub(crate) fn logical(&self) -> u64 {
        u64::from(self.logical) | u64::from(self.logical_high) << 32
    }

    pub(crate) fn end(&self) -> u64 {
        self.block.saturating_add(u64::from(self.length))
    }
}

/// Claims in order of precedence: the first on a block has it.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    list: Vec<Claim>,
    /// Blocks of the file system; claims are cut there.
    blocks: u64,
    /// Most claims.
    limit: usize,
    full: bool,
}

impl Claims {
    pub(crate) fn new(blocks: u64, limit: usize) -> Self {
        Self {
            list: Vec::new(),
            blocks,
            limit: limit.min(u32::MAX.wrapping_sub(1).try_into().unwrap_or(usize::MAX)),
            full: false,
        }
    }

    /// Returns how many claims there are.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns `count` claims from the one at `first` on.
    pub(crate) fn of(&self, first: u32, count: u32) -> &[Claim] {
        let first = narrow(u64::from(first));
        let end = first.saturating_add(narrow(u64::from(count)));
        self.list.get(first..end).unwrap_or_default()
    }

    /// Returns whether claims were left out because there were too many.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// Claims blocks for the file system itself.
    pub(crate) fn metadata(&mut self, block: u64, length: u64) {
        self.own(Role::Metadata, block, length);
    }

    /// Claims blocks of a log that is not replayed.
    pub(crate) fn log(&mut self, block: u64, length: u64) {
        self.own(Role::Log, block, length);
    }

    fn own(&mut self, role: Role, block: u64, length: u64) {
        let (mut at, end) = (block, block.saturating_add(length).min(self.blocks));
        while at < end {
            let length = word(end.saturating_sub(at));
            self.push(Claim::new(NOBODY, role, at, length, 0));
            at = at.saturating_add(u64::from(length));
        }
    }

    /// Claims any number of blocks for a file.
    pub(crate) fn run(&mut self, owner: u32, role: Role, block: u64, length: u64, logical: u64) {
        let length = length.min(self.blocks.saturating_sub(block));
        let mut done = 0_u64;
        while done < length && !self.full {
            let part = word(length.saturating_sub(done));
            self.push(Claim::new(
                owner,
                role,
                block.saturating_add(done),
                part,
                logical.saturating_add(done),
            ));
            done = done.saturating_add(u64::from(part));
        }
    }

    /// Adds a claim, to the one before it where they touch.
    pub(crate) fn push(&mut self, claim: Claim) {
        let length = word(claim.end().min(self.blocks).saturating_sub(claim.block));
        if length == 0 {
            return;
        }
        if let Some(last) = self.list.last_mut() {
            let joined = last.length.checked_add(length);
            let logical = last.logical().saturating_add(u64::from(last.length));
            let touches = last.end() == claim.block
                && last.owner == claim.owner
                && last.role == claim.role
                && (claim.role == Role::Metadata || logical == claim.logical());
            if let Some(joined) = joined.filter(|_| touches) {
                last.length = joined;
                return;
            }
        }
        if self.list.len() >= self.limit {
            self.full = true;
            return;
        }
        self.list.push(Claim { length, ..claim });
    }

    /// Claims the rest of every cluster that the file system has a part of, for itself.
    pub(crate) fn rest_of_metadata(&mut self, cluster_bits: u32) {
        if cluster_bits == 0 {
            return;
        }
        for index in 0..self.list.len() {
            let claim = self.list.get(index).copied();
            if let Some(claim) = claim.filter(|claim| claim.role == Role::Metadata) {
                for (block, length) in rests(claim.block, claim.end(), cluster_bits) {
                    self.metadata(block, u64::from(length));
                }
            }
        }
    }

    /// Decides who has which blocks.
    pub(crate) fn settle(self) -> Settled {
        let mut pieces: Vec<Piece> = (0_u32..)
            .zip(&self.list)
            .map(|(claim, of)| Piece { block: of.block, length: of.length, claim })
            .collect();
        pieces.sort_unstable_by_key(|piece| (piece.block, piece.claim));
        let mut settled = Settled {
            claims: self.list,
            pieces: Vec::new(),
            partly_won: HashMap::new(),
            losers: HashSet::new(),
            contested: 0,
            first_contested: None,
        };
        let overlap = |pair: &[Piece]| match pair {
            [a, b] => a.end() > b.block,
            _ => false,
        };
        if !pieces.windows(2).any(overlap) {
            settled.pieces = pieces;
            return settled;
        }
        let mut rest = pieces.as_slice();
        while let Some(first) = rest.first() {
            let mut end = first.end();
            let behind = rest.iter().skip(1).position(|piece| {
                let apart = piece.block >= end;
                end = end.max(piece.end());
                apart
            });
            let count = behind.map_or(rest.len(), |behind| behind.saturating_add(1));
            let (group, others) = rest.split_at(count);
            if count == 1 {
                settled.pieces.extend_from_slice(group);
            } else {
                settled.contest(group);
            }
            rest = others;
        }
        settled
    }
}

/// Returns block and length of what is before and behind a run in its first and last cluster.
///
/// Clusters are counted from block 0: bigalloc file systems have no first data block.
pub(crate) fn rests(block: u64, end: u64, cluster_bits: u32) -> impl Iterator<Item = (u64, u32)> {
    let mask = 1_u64.checked_shl(cluster_bits).unwrap_or(1).saturating_sub(1);
    let first = block & !mask;
    let last = end.saturating_add(mask) & !mask;
    [(first, block), (end, last)]
        .into_iter()
        .filter(|(from, until)| from < until)
        .map(|(from, until)| (from, word(until.saturating_sub(from))))
}

/// A run of blocks that one claim has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    pub(crate) block: u64,
    pub(crate) length: u32,
    /// Position of the claim.
    pub(crate) claim: u32,
}

impl Piece {
    pub(crate) fn end(&self) -> u64 {
        self.block.saturating_add(u64::from(self.length))
    }
}

/// Claims that no longer overlap.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) claims: Vec<Claim>,
    /// Who has what, sorted by block; every block at most once.
    pub(crate) pieces: Vec<Piece>,
    /// What is left to claims that lost something.
    pub(crate) partly_won: HashMap<u32, Vec<(u64, u32)>>,
    /// Owners of file data that lost some of it.
    pub(crate) losers: HashSet<u32>,
    /// File blocks that were claimed twice.
    pub(crate) contested: u64,
    pub(crate) first_contested: Option<u64>,
}

impl Settled {
    /// Returns what a claim has in the end, as block and length.
    pub(crate) fn won(&self, claim: u32) -> impl Iterator<Item = (u64, u32)> {
        let partly = self.partly_won.get(&claim);
        let whole = self.claims.get(usize::try_from(claim).unwrap_or(usize::MAX));
        let whole = whole.filter(|_| partly.is_none());
        partly.into_iter().flatten().copied().chain(whole.map(|claim| (claim.block, claim.length)))
    }

    /// Settles claims that overlap, in order of precedence.
    ///
    /// What is covered is kept as few joined intervals, so every claim costs as many
    /// steps as intervals it joins: all claims together cost no more than they are.
    fn contest(&mut self, group: &[Piece]) {
        let mut order = group.to_vec();
        order.sort_unstable_by_key(|piece| piece.claim);
        let mut covered: BTreeMap<u64, u64> = BTreeMap::new();
        let first_piece = self.pieces.len();
        for piece in order {
            let (start, end) = (piece.block, piece.end());
            let before = covered.range(..=start).next_back();
            let from = match before {
                Some((&from, &until)) if until >= start => from,
                _ => start,
            };
            let touched: Vec<(u64, u64)> =
                covered.range(from..=end).map(|(&from, &until)| (from, until)).collect();
            let (mut at, mut joined) = (start, (start, end));
            let mut won: Vec<(u64, u32)> = Vec::new();
            for &(from, until) in &touched {
                covered.remove(&from);
                joined = (joined.0.min(from), joined.1.max(until));
                if from.min(end) > at {
                    won.push((at, word(from.min(end).saturating_sub(at))));
                }
                at = at.max(until);
            }
            if at < end {
                won.push((at, word(end.saturating_sub(at))));
            }
            covered.insert(joined.0, joined.1);
            self.pieces.extend(won.iter().map(|&(block, length)| Piece {
                block,
                length,
                claim: piece.claim,
            }));
            let kept: u64 = won.iter().map(|&(_, length)| u64::from(length)).sum();
            let lost = u64::from(piece.length).saturating_sub(kept);
            if lost > 0 {
                self.lose(&piece, lost);
                self.partly_won.insert(piece.claim, won);
            }
        }
        if let Some(settled) = self.pieces.get_mut(first_piece..) {
            settled.sort_unstable_by_key(|piece| piece.block);
        }
    }

    /// Notes that a claim lost blocks. That two parts of the file system claim a block
    /// of it is usual (the resize inode has the spare descriptors).
    fn lose(&mut self, piece: &Piece, lost: u64) {
        let claim = usize::try_from(piece.claim).unwrap_or(usize::MAX);
        if let Some(claim) = self.claims.get(claim)
            && matches!(claim.role, Role::Written | Role::Unwritten)
        {
            self.losers.insert(claim.owner);
            self.contested = self.contested.saturating_add(lost);
            self.first_contested.get_or_insert(piece.block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(claims: &[(u64, u32, u32)], expected: &[(u64, u32, u32)], contested: u64) {
        let mut list = Claims::new(100, 1000);
        for &(block, length, owner) in claims {
            list.push(Claim::new(owner, Role::Written, block, length, 0));
        }
        let settled = list.settle();
        let pieces: Vec<_> = settled
            .pieces
            .iter()
            .map(|piece| {
                let owner = settled.claims[piece.claim as usize].owner;
                (piece.block, piece.length, owner)
            })
            .collect();
        assert_eq!(pieces, expected);
        assert_eq!(settled.contested, contested);
        for claim in 0..settled.claims.len() {
            let claim = u32::try_from(claim).expect("few claims");
            let won: u64 = settled.won(claim).map(|(_, length)| u64::from(length)).sum();
            let pieces = settled.pieces.iter().filter(|piece| piece.claim == claim);
            assert_eq!(won, pieces.map(|piece| u64::from(piece.length)).sum::<u64>());
        }
    }

    #[test]
    fn the_first_claim_wins() {
        check(&[(0, 5, 1), (5, 5, 2)], &[(0, 5, 1), (5, 5, 2)], 0);
        check(&[(5, 5, 1), (0, 20, 2)], &[(0, 5, 2), (5, 5, 1), (10, 10, 2)], 5);
        check(&[(0, 20, 1), (5, 5, 2)], &[(0, 20, 1)], 5);
        check(&[(3, 4, 1), (3, 4, 2), (0, 4, 3)], &[(0, 3, 3), (3, 4, 1)], 5);
        check(
            &[(0, 2, 1), (4, 2, 2), (8, 2, 3), (0, 10, 4), (0, 10, 5)],
            &[(0, 2, 1), (2, 2, 4), (4, 2, 2), (6, 2, 4), (8, 2, 3)],
            16,
        );
        check(&[(90, 20, 1), (200, 5, 2)], &[(90, 10, 1)], 0);
    }

    #[test]
    fn any_claims_settle_to_each_block_once() {
        let mut state = 1_u64;
        let mut random = |limit: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % limit
        };
        for _ in 0..500 {
            let mut list = Claims::new(100, 1000);
            let mut first = [None; 100];
            for owner in 0..u32::try_from(random(30)).expect("small") {
                let (block, length) = (random(100), random(20) + 1);
                let claim = u32::try_from(list.len()).expect("few claims");
                list.push(Claim::new(owner, Role::Written, block, word(length), u64::from(7 * owner)));
                let end = (block + length).min(100);
                for slot in &mut first[narrow(block)..narrow(end)] {
                    slot.get_or_insert(claim);
                }
            }
            let mut settled = [None; 100];
            let mut at = 0;
            for piece in list.settle().pieces {
                assert!(piece.block >= at);
                at = piece.end();
                settled[narrow(piece.block)..narrow(at)].fill(Some(piece.claim));
            }
            assert_eq!(settled, first);
        }
    }
}
