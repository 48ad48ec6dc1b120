//! Configurations: see [`xvrrp_fuzz::config`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xvrrp_fuzz::config(data));
