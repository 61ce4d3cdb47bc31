//! Measures how fast a set of literals is found in files, and how fast it is built:
//! `literal_set_speed COUNT LENGTH_MIN LENGTH_MAX FILE...`. The memory copy beside it tells
//! how fast the machine is at the time.
#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "rates, for people")]

use airlock_inspect::{Literal, LiteralSet};

/// Returns the seconds that this thread had a processor (`/proc/self/schedstat`): what else
/// the machine does counts less than on a clock.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e9
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut number = || args.next().and_then(|arg| arg.parse::<usize>().ok()).ok_or("three numbers");
    let (count, least, most) = (number()?, number()?, number()?);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % below
    };
    let mut literals = Vec::new();
    for _ in 0..count {
        let length = least + random(most - least + 1);
        let letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
        let bytes = (0..length).map(|_| letters[random(letters.len())]).collect();
        literals.push(Literal::owned(bytes).ok_or("a length out of bounds")?);
    }
    let started = cpu_seconds();
    let set = LiteralSet::new(&literals)?;
    println!("{count} literals prepared in {:.1} ms", (cpu_seconds() - started) * 1e3);
    for path in args {
        let bytes = std::fs::read(&path)?;
        let mut copy = vec![0; 1 << 20];
        let (mut scans, mut copies, mut hits) = (Vec::new(), Vec::new(), 0_u64);
        for _ in 0..5 {
            let started = cpu_seconds();
            let mut scanner = set.scanner();
            hits = 0;
            bytes.chunks(1 << 20).for_each(|piece| scanner.feed(piece, &mut |_| hits += 1));
            scans.push(cpu_seconds() - started);
            let started = cpu_seconds();
            bytes.chunks(1 << 20).for_each(|piece| {
                copy[..piece.len()].copy_from_slice(piece);
                std::hint::black_box(&copy);
            });
            copies.push(cpu_seconds() - started);
        }
        let best = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
        let rate = |times: &[f64]| bytes.len() as f64 / best(times) / 1e9;
        println!("{:.2} GB per CPU-s, copy {:.2}, {hits} hits: {path}", rate(&scans), rate(&copies));
    }
    Ok(())
}
