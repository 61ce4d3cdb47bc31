//! ISO 9660.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| airlock_fuzz::survey_with(input, &[(32_769, b"CD001")]));
