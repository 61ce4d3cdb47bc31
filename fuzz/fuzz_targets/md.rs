//! Members of md arrays.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| airlock_fuzz::survey_with(input, &[(4096, b"\xfc\x4e\x2b\xa9")]));
