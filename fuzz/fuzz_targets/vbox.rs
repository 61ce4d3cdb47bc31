//! VirtualBox machines.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| airlock_fuzz::descriptor(input, "vm.vbox"));
