//! Containers in the middle of other content.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| airlock_fuzz::layers_with(input, b"in the middle: "));
