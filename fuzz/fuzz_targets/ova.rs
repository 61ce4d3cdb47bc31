//! OVA archives.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| airlock_fuzz::descriptor(input, "vm.ova"));
