//! Compound files.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| airlock_fuzz::layers_with(input, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"));
