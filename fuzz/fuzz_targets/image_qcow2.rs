//! Disk images pinned as qcow2.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| airlock_fuzz::image(input, airlock_disk::Format::Qcow2));
