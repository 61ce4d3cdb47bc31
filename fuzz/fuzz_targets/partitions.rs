//! Partition tables and whatever volumes they lead to.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| airlock_fuzz::survey_with(input, &[(510, b"\x55\xaa")]));
