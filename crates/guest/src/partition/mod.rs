//! Partition tables.

mod bsd;
mod crc32;
mod gpt;
mod mbr;

use crate::{Error, Oddity};
use airlock_disk::BlockSource;
use airlock_model::Extent;

pub(crate) use bsd::read as disklabel;

/// Most partitions of a disk; the kernel stops at 256.
pub(crate) const PARTITIONS_MAX: usize = 1024;

/// A partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Partition {
    /// As the kernel numbers it.
    pub(crate) number: u32,
    /// Cut to the size of the disk.
    pub(crate) extent: Extent,
}

/// What the partition tables of a disk say.
#[derive(Debug)]
pub(crate) struct Layout {
    /// `gpt` or `mbr`.
    pub(crate) scheme: &'static str,
    /// Partitions by number.
    pub(crate) partitions: Vec<Partition>,
    /// Where the tables are, in order of precedence.
    pub(crate) tables: Vec<Extent>,
    /// What another table says that is not believed: which one, and partitions that are not among these.
    pub(crate) others: Vec<(&'static str, Partition)>,
    /// Whether there are more partitions than are looked at.
    pub(crate) limited: bool,
}

impl Layout {
    /// Notes what another table says.
    fn doubt(&mut self, table: &'static str, partitions: &[Partition]) {
        let known = |other: &Partition| self.partitions.iter().any(|one| one.extent == other.extent);
        let news: Vec<_> =
            partitions.iter().filter(|other| !known(other)).map(|other| (table, *other)).collect();
        self.others.extend(news);
    }
}

/// Collects what is odd about the tables.
#[derive(Debug, Default)]
pub(crate) struct Oddities(pub(crate) Vec<Oddity>);

impl Oddities {
    /// Most oddities that are kept; a hostile table could make any number.
    const MAX: usize = 256;

    pub(crate) fn add(&mut self, volume: &str, what: impl Into<String>, extent: Extent) {
        if self.0.len() < Self::MAX {
            self.0.push(Oddity { volume: volume.to_owned(), what: what.into(), extent });
        }
    }
}

/// Reads the partition tables of `disk`, if it has any.
///
/// Like the kernel, it believes a GPT only behind a protective MBR, or where there
/// is no MBR at all; a disk with both a GPT and a plain MBR is read by the MBR.
pub(crate) fn read(disk: &dyn BlockSource, oddities: &mut Oddities) -> Result<Option<Layout>, Error> {
    let mbr = mbr::read(disk)?;
    let protective = mbr.as_ref().is_some_and(mbr::Mbr::is_protective);
    let gpt = gpt::read(disk, protective, oddities)?;
    let sector = Extent::new(0, 512.min(disk.size()));
    match (gpt, mbr) {
        (Some(gpt), None) => {
            oddities.add("disk", "GPT without a protective MBR", sector);
            Ok(Some(gpt))
        }
        (Some(mut gpt), Some(mbr)) if protective => {
            mbr.compare(&mut gpt, oddities);
            Ok(Some(gpt))
        }
        (gpt, Some(mbr)) => {
            if protective {
                oddities.add("disk", "protective MBR without a valid GPT", sector);
            }
            if gpt.is_some() {
                oddities.add("disk", "GPT ignored behind an MBR of its own", sector);
            }
            let mut layout = mbr.layout(disk, oddities)?;
            if let Some(gpt) = gpt {
                layout.doubt("gpt", &gpt.partitions);
                layout.tables.extend(gpt.tables);
            }
            Ok(Some(layout))
        }
        (None, None) => Ok(None),
    }
}
