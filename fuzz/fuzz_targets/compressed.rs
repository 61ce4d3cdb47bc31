//! What is compressed, and archives without a directory.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| airlock_fuzz::layers(input));
