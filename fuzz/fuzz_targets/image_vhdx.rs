//! Disk images pinned as vhdx.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| airlock_fuzz::image(input, airlock_disk::Format::Vhdx));
