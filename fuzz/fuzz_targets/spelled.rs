//! Dumps, uuencode, EBCDIC, and characters that are spelled by their numbers.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| airlock_fuzz::layers(input));
