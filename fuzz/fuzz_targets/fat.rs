//! FAT12, FAT16 and FAT32.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| airlock_fuzz::survey_with(
    input,
    &[(510, b"\x55\xaa"), (54, b"FAT16   ")]
));
