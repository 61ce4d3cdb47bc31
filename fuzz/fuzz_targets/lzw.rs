//! What `compress` wrote.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| airlock_fuzz::layers_with(input, b"\x1f\x9d"));
