//! Prints how fast one core scans a file with every detector, beside BLAKE3.
//!
//! `cargo run --release -p airlock-checks --example scan_speed -- FILE [ROUNDS]`
//!
//! The file is read in pieces of 1 MiB; times are of the processor, not of the clock
//! on the wall, and the best of the rounds counts.
#![expect(clippy::print_stdout, reason = "the output of the example")]

use airlock_checks::detectors::builtin;
use airlock_inspect::{Engine, EngineConfig, Literal, Match};
use std::io::{self, Read};

/// Bytes of a piece.
const PIECE_BYTES: usize = 1 << 20;

/// Bytes that are kept in memory and scanned again and again.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Signatures that a decoder may ask for.
const SIGNATURES: [&[u8]; 16] = [
    b"\x1f\x8b\x08",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"%PDF-",
    b"SQLite format 3\0",
    b"\xfd7zXZ\0",
    b"\x28\xb5\x2f\xfd",
    b"\x04\x22\x4d\x18",
    b"BZh9",
    b"7z\xbc\xaf\x27\x1c",
    b"{\\rtf1",
    b"ustar",
    b"base64",
    b"quoted-printable",
    b"MIME-Version:",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
];

/// Returns the nanoseconds that this thread has run (proc(5), `schedstat`).
fn processor_ns() -> io::Result<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text.split_whitespace().next().and_then(|number| number.parse().ok());
    first.ok_or_else(|| io::Error::other("no schedstat"))
}

/// Shortest time that is measured: the kernel counts in ticks of some milliseconds.
const BATCH_NS: f64 = 2e8;

/// Returns the shortest time that `work` took, in nanoseconds.
fn best(rounds: usize, mut work: impl FnMut()) -> io::Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..rounds {
        let start = processor_ns()?;
        let mut times = 0.0;
        let mut spent = 0.0;
        while spent < BATCH_NS {
            work();
            times += 1.0;
            spent = processor_ns()? - start;
        }
        least = least.min(spent / times);
    }
    Ok(least)
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or_else(|| io::Error::other("usage: scan_speed FILE [ROUNDS]"))?;
    let rounds = arguments.next().and_then(|number| number.parse().ok()).unwrap_or(5);
    let mut bytes = Vec::new();
    std::fs::File::open(&path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    #[expect(clippy::cast_precision_loss, reason = "a size for people")]
    let size = bytes.len() as f64;

    let config = EngineConfig { fingerprint_key: [0; 32] };
    let load = best(rounds, || drop(builtin(|_| true)))?;
    let every = Engine::new(builtin(|_| true), config.clone());
    let none = Engine::new(Vec::new(), config.clone());
    let signatures: Vec<Literal> = SIGNATURES.iter().map(|bytes| Literal::new(bytes)).collect();
    let all = Engine::with_signatures(builtin(|_| true), &signatures, config);
    let mut found: Vec<Match> = Vec::new();
    let mut seen = 0_usize;
    let mut run = |engine: &Engine| {
        let mut scanner = engine.scanner();
        best(rounds, || {
            found.clear();
            for piece in bytes.chunks(PIECE_BYTES) {
                scanner.feed(piece, &mut found);
                seen = seen.saturating_add(scanner.signatures().count());
            }
            scanner.finish(&mut found);
        })
    };
    let stage = run(&none)?;
    let scan = run(&every)?;
    let with_signatures = run(&all)?;
    let mut streams = every.scanner();
    let mut ignored = Vec::new();
    let small = best(rounds, || {
        for stream in bytes.chunks(3000) {
            streams.feed(stream, &mut ignored);
            streams.finish(&mut ignored);
        }
        ignored.clear();
    })?;
    let hash = best(rounds, || {
        let mut hasher = blake3::Hasher::new();
        for piece in bytes.chunks(PIECE_BYTES) {
            hasher.update(piece);
        }
        std::hint::black_box(hasher.finalize());
    })?;
    println!("{path}: {:.0} MiB, {} matches", size / f64::from(1 << 20), found.len());
    println!("  rules loaded in          {:6.2} ms", load / 1e6);
    println!("  BLAKE3                   {:6.2} GB/s", size / hash);
    println!("  stage 1 alone            {:6.2} GB/s", size / stage);
    println!("  all detectors            {:6.2} GB/s   {:.2} x BLAKE3", size / scan, hash / scan);
    println!("  and {} signatures        {:6.2} GB/s", signatures.len(), size / with_signatures);
    println!("  in streams of 3000 bytes {:6.2} GB/s", size / small);
    Ok(())
}
