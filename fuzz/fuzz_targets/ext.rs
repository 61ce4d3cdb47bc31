//! ext2, ext3 and ext4, with their journals.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| airlock_fuzz::survey_with(input, &[(1080, b"\x53\xef")]));
