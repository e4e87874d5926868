//! Target `ahci`, as libFuzzer runs it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::run("ahci", bytes));
