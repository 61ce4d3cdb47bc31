//! Packs an image into an input of a fuzz target: `cargo run --example pack IMAGE INPUT`.
#![forbid(unsafe_code)]

use airlock_fuzz::Sparse;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let mut words = env::args().skip(1);
    let (Some(image), Some(input)) = (words.next(), words.next()) else {
        return Err(io::Error::other("usage: pack IMAGE INPUT"));
    };
    fs::write(input, Sparse::pack(&fs::read(image)?))
}
