//! `BinHex` 4.0.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| airlock_fuzz::layers_with(input, b"(This file must be converted with BinHex"));
