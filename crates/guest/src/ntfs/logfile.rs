//! Whether `$LogFile` has something that a mount would replay.

use super::boot::Boot;
use super::runs::Stream;
use crate::Error;
use crate::field::{has, le16, le32, le64, narrow, wide};
use crate::window::Window;

const WHAT: &str = "$LogFile";

/// The pages in which the two restart areas can be: the second is one page behind the first.
const PAGE_BYTES_MAX: u64 = 65_536;

/// Set in a restart area when the volume was unmounted.
const IS_CLEAN: u16 = 2;

/// How a log was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Empty, or closed by an unmount.
    Clean,
    /// In use: operations in it may not have reached their places.
    InUse,
    Damaged,
}

/// Tells how the log was left.
pub(crate) fn state(window: &Window<'_>, boot: &Boot, log: &Stream) -> Result<State, Error> {
    let length = log.size.min(log.mapped(boot)).min(PAGE_BYTES_MAX.saturating_mul(2));
    let mut bytes = vec![0; narrow(length)];
    log.read(window, boot, WHAT, 0, &mut bytes)?;
    Ok(judge(&bytes))
}

fn judge(bytes: &[u8]) -> State {
    let first = restart(bytes);
    let page = first.map_or(4096, |first| first.page);
    let second = bytes.get(page..).and_then(restart);
    let newest = first.into_iter().chain(second).max_by_key(|restart| restart.sequence);
    match newest {
        Some(restart) if restart.in_use => State::InUse,
        Some(_) => State::Clean,
        // A log that was never used is filled with ones.
        None if bytes.iter().take(4096).all(|byte| *byte == 0xff) => State::Clean,
        None if has(bytes, 0, b"CHKD") => State::Clean,
        None => State::Damaged,
    }
}

#[derive(Debug, Clone, Copy)]
struct Restart {
    sequence: u64,
    in_use: bool,
    page: usize,
}

fn restart(page: &[u8]) -> Option<Restart> {
    let page_bytes = u64::from(le32(page, 16));
    let area = page.get(usize::from(le16(page, 24))..)?;
    let possible = page_bytes.is_power_of_two() && (512..=PAGE_BYTES_MAX).contains(&page_bytes);
    if !has(page, 0, b"RSTR") || !possible || wide(area.len()) < 16 {
        return None;
    }
    // No client, or one that has closed the log.
    let in_use = le16(area, 12) != u16::MAX && le16(area, 14) & IS_CLEAN == 0;
    Some(Restart { sequence: le64(area, 0), in_use, page: narrow(page_bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(sequence: u8, client: u16, flags: u16) -> Vec<u8> {
        let mut page = vec![0; 4096];
        page[..4].copy_from_slice(b"RSTR");
        page[17] = 0x10;
        page[24] = 48;
        page[48] = sequence;
        page[60..62].copy_from_slice(&client.to_le_bytes());
        page[62..64].copy_from_slice(&flags.to_le_bytes());
        page
    }

    #[test]
    fn the_newer_restart_area_counts() {
        assert_eq!(judge(&[0xff; 8192]), State::Clean);
        assert_eq!(judge(&[0; 8192]), State::Damaged);
        assert_eq!(judge(&[]), State::Clean);
        let check = |pages: [Vec<u8>; 2], expected| assert_eq!(judge(&pages.concat()), expected);
        check([page(1, 0, 0), page(2, 0, 2)], State::Clean);
        check([page(2, 0, 0), page(1, 0, 2)], State::InUse);
        check([page(2, 0xffff, 0), page(1, 0, 0)], State::Clean);
        check([vec![0; 4096], page(1, 0, 0)], State::InUse);
    }
}
