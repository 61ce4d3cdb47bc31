//! exFAT.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| airlock_fuzz::survey_with(input, &[(3, b"EXFAT   ")]));
