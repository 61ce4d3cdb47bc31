//! Examining units elsewhere: in a process that has nothing to lose.
//!
//! ```text
//! here                                        there
//! plan ─ memo ─▶ Unit ──── Elsewhere ────▶ Examiner: read, open, inspect
//! judge ◀─ check ◀──────── Examined ◀──────┘
//! ```
//!
//! What is there knows the disk, the rules and the policy. It says what each piece of a unit is and what was
//! found in it. It does not say what is cleared: which units there are, how they are cut, what a finding
//! means and what is kept is decided here. Whoever has taken it over can lie about what is in a unit, and
//! about nothing else; so every answer is held against the unit that it is about.

use super::outcome::{Content, Piece};
use super::planner::Unit;
use super::unit::{MATCHES_MAX, Worker};
use super::{Progress, Station, StationError};
use airlock_disk::BlockSource;
use airlock_guest::Survey;
use airlock_model::{Action, Escaped, Extent, Finding, Place, PlaceKind, Reason, Run, Space};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Units of so few bytes are handed over with their bytes: asking for them would take longer.
const AHEAD_BYTES_MAX: u64 = 256 << 10;
/// Most bytes of a detector's name, and of what is shown of a value.
const WORD_BYTES_MAX: usize = 4 << 10;
/// Most bytes of the way to a byte: a path of 64 KiB, escaped, and the layers in the file.
const TRAIL_BYTES_MAX: usize = 1 << 20;
/// No byte lies behind this one.
const OFFSET_MAX: u64 = 1 << 63;

/// What a piece of a unit is. The pieces are cut alike here and there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PieceContent {
    /// Zeros, or a hole.
    Zero,
    /// It could not be read.
    Unreadable,
    /// Left out because policy says so.
    Dropped,
    /// Data.
    Data,
}

/// What the bytes of a unit came to, before it is judged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Examined {
    /// What each piece is, in their order.
    pub contents: Vec<PieceContent>,
    /// What was found: first what lies in the bytes themselves, then what lies in layers inside of them.
    pub findings: Vec<Finding>,
    /// How many of the findings lie in the bytes themselves.
    pub plain: usize,
    /// Why not all of it was inspected.
    pub unscannable: BTreeSet<Reason>,
}

/// Examines units in another place than the one where they are judged.
pub trait Elsewhere: std::fmt::Debug + Sync {
    /// Examines one unit of `disk`. Bytes of the extents `ahead` are needed for certain.
    fn examine(&self, disk: &dyn BlockSource, unit: Unit, ahead: &[Extent])
    -> Result<Examined, StationError>;

    /// Notes that an answer cannot be true. Nothing that was said before counts, either.
    fn distrust(&self, why: &'static str) -> StationError;
}

/// Examines units for somebody elsewhere.
#[derive(Debug)]
pub struct Examiner<'a>(Worker<'a>);

impl Station<'_> {
    /// Returns what examines units of a disk, for use by one thread.
    pub fn examiner<'a>(
        &'a self,
        space: &'a Space,
        disk: &'a dyn BlockSource,
        survey: &'a Survey,
        progress: &'a Progress,
    ) -> Examiner<'a> {
        Examiner(Worker::new(self, space, disk, survey, progress))
    }
}

impl Examiner<'_> {
    /// Examines a unit; nothing if there is no such unit.
    pub fn examine(&mut self, unit: &Unit) -> Option<Examined> {
        let (place, _, mut pieces) = self.0.lay_out(unit)?;
        let whole = matches!(unit, Unit::File { .. });
        let (mut examined, _) = self.0.examine(&place, &mut pieces, whole, false);
        let content = |piece: &Piece| match piece.content {
            Content::Zero => PieceContent::Zero,
            Content::Unreadable => PieceContent::Unreadable,
            Content::Dropped => PieceContent::Dropped,
            Content::Data { .. } => PieceContent::Data,
        };
        examined.contents = pieces.iter().map(content).collect();
        Some(examined)
    }
}

impl Worker<'_> {
    /// Has a unit examined elsewhere, and holds the answer against the unit.
    pub(super) fn ask(
        &self,
        elsewhere: &dyn Elsewhere,
        unit: &Unit,
        place: &Place<'_>,
        pieces: &mut [Piece],
    ) -> Result<Examined, StationError> {
        let bytes: u64 = pieces.iter().map(Piece::bytes).sum();
        let ahead = if bytes <= AHEAD_BYTES_MAX { joined_runs(pieces) } else { Vec::new() };
        let mut examined = elsewhere.examine(self.reader.disk(), *unit, &ahead)?;
        self.check(place, pieces, &mut examined).map_err(|why| elsewhere.distrust(why))?;
        for (piece, content) in pieces.iter_mut().zip(&examined.contents) {
            piece.content = match content {
                PieceContent::Zero => Content::Zero,
                PieceContent::Unreadable => Content::Unreadable,
                PieceContent::Dropped => Content::Dropped,
                PieceContent::Data => Content::Data { record: None, chunk: None },
            };
        }
        Ok(examined)
    }

    /// Checks that an answer can be about this unit, and sets what is known here.
    fn check(
        &self,
        place: &Place<'_>,
        pieces: &[Piece],
        examined: &mut Examined,
    ) -> Result<(), &'static str> {
        if examined.contents.len() != pieces.len() {
            return Err("it tells of other pieces than it was asked for");
        }
        let drops =
            place.kind == PlaceKind::Free && self.policy.free_space() == airlock_policy::FreeSpace::Drop;
        let dropped = |content: &PieceContent| *content == PieceContent::Dropped;
        if !drops && examined.contents.iter().any(dropped) {
            return Err("it leaves out what the policy wants inspected");
        }
        if examined.findings.len() > MATCHES_MAX || examined.plain > examined.findings.len() {
            return Err("it has more findings than a unit may have");
        }
        let path = (!place.path.is_empty()).then(|| Escaped(place.path).to_string());
        for finding in &mut examined.findings {
            self.check_finding(place, path.as_ref(), finding)?;
        }
        Ok(())
    }

    fn check_finding(
        &self,
        place: &Place<'_>,
        path: Option<&String>,
        finding: &mut Finding,
    ) -> Result<(), &'static str> {
        let size = self.survey.map.disk_bytes();
        let ends = |at: u64| at.checked_add(finding.length).is_some_and(|end| end <= OFFSET_MAX);
        let inside = finding.disk_offset.is_none_or(|at| at < size && ends(at));
        if !inside || !ends(finding.offset) {
            return Err("it found something behind the end of the disk");
        }
        let fits = |text: &str, most: usize| text.len() <= most && !text.chars().any(char::is_control);
        let words = fits(&finding.detector, WORD_BYTES_MAX) && fits(&finding.display, WORD_BYTES_MAX);
        if !words || !fits(&finding.trail, TRAIL_BYTES_MAX) {
            return Err("it names something by what is no name");
        }
        // Unused ends of the stored pieces of a packed file are slack.
        let slack = finding.place == PlaceKind::Slack.name() && !place.packed.is_empty();
        if finding.path.as_ref() != path || !(slack || finding.place == place.kind.name()) {
            return Err("it found something in another file than it was asked for");
        }
        let at = finding.disk_offset.unwrap_or(place.volume.extent.offset);
        finding.disk.clear();
        finding.disk.push_str(self.space.locate(at).0);
        finding.deleted = place.kind == PlaceKind::Free;
        finding.action = Action::Allow;
        finding.site = self.site;
        Ok(())
    }
}

/// Returns the extents of pieces, those that lie one behind the other as one.
fn joined_runs(pieces: &[Piece]) -> Vec<Extent> {
    let mut joined: Vec<Extent> = Vec::new();
    for extent in pieces.iter().flat_map(|piece| piece.runs.iter().map(Run::extent)) {
        match joined.last_mut() {
            Some(last) if last.end() == extent.offset => last.length += extent.length,
            _ => joined.push(extent),
        }
    }
    joined
}
