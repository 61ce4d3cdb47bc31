//! Physical volumes of LVM2.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| airlock_fuzz::survey_with(
    input,
    &[(512, b"LABELONE"), (536, b"LVM2 001")]
));
