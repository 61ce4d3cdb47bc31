//! Prints how fast the file systems of a disk image are mapped.
//!
//! `cargo run --release -p airlock-guest --example survey_speed -- IMAGE [ROUNDS] [list]`

use airlock_disk::{OpenOptions, open};
use airlock_guest::survey;
use airlock_model::{Escaped, PlaceKind};
use std::fmt::Write as _;
use std::io::Write as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("which image?")?;
    let rounds: u32 = arguments.next().map_or(Ok(1), |rounds| rounds.parse())?;
    let list = arguments.next().is_some();
    let disk = open(path.as_ref(), &OpenOptions::default())?;
    let mut report = String::new();
    for _ in 0..rounds {
        let start = std::time::Instant::now();
        let survey = survey(&*disk.source)?;
        let seconds = start.elapsed().as_secs_f64();
        let files = survey.map.iter().filter(|place| place.kind == PlaceKind::File).count();
        let rate = f64::from(u32::try_from(files)?) / seconds;
        writeln!(report, "{files} files in {seconds:.3} s: {rate:.0} files/s")?;
        let extents: usize = survey.map.iter().map(|place| place.runs.len()).sum();
        let memory = survey.map.memory_bytes();
        writeln!(report, "map: {memory} bytes of memory for {extents} extents and {files} files")?;
        for oddity in &survey.oddities {
            writeln!(report, "odd: {} {}", oddity.volume, oddity.what)?;
        }
        for replay in &survey.replays {
            writeln!(report, "{replay:?}")?;
        }
        for volume in survey.map.volumes() {
            writeln!(report, "volume: {} {}", volume.label, volume.content)?;
        }
        for place in survey.map.iter().filter(|place| list && place.kind == PlaceKind::File) {
            let view = if place.view { " view" } else { "" };
            writeln!(report, "file: {} {}{view}", place.size, Escaped(place.path))?;
        }
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    writeln!(report, "{peak}")?;
    Ok(std::io::stdout().write_all(report.as_bytes())?)
}
