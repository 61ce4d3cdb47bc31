//! Builds one of the test images by hand and prints where it lies.
//!
//! ```sh
//! cargo run -p airlock-testkit --example image -- planted target/tmp/testkit 7
//! ```
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to the person who runs it")]

use airlock_testkit::{Error, PlantedDisk, PocketVm, bench_disk, debian_root};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn build(kind: &str, folder: &Path, seed: u64) -> Option<Result<PathBuf, Error>> {
    Some(match kind {
        "planted" => PlantedDisk::builder(folder.join("planted"), seed)
            .gpt()
            .build()
            .map(|disk| disk.image().to_owned()),
        "pocket" => {
            PocketVm::build(folder, &folder.join("vm"), seed, |_| Ok(())).map(|vm| vm.image().to_owned())
        }
        "debian" => debian_root(folder, 1 << 30).map(|images| images.disk),
        "bench" => bench_disk(folder),
        _ => return None,
    })
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let kind = words.first().map_or("", String::as_str);
    let folder = words.get(1).map_or_else(|| PathBuf::from("target/tmp/testkit"), PathBuf::from);
    let seed = words.get(2).and_then(|word| word.parse().ok()).unwrap_or(7);
    match build(kind, &folder, seed) {
        Some(Ok(image)) => {
            println!("{}", image.display());
            ExitCode::SUCCESS
        }
        Some(Err(error)) => {
            eprintln!("image: {error}");
            ExitCode::FAILURE
        }
        None => {
            eprintln!("usage: image planted|pocket|debian|bench [FOLDER [SEED]]");
            ExitCode::from(2)
        }
    }
}
