//! Microsoft cabinets.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| airlock_fuzz::layers_with(input, b"MSCF\0\0\0\0"));
