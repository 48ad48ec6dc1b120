//! Adverts: see [`xvrrp_fuzz::check_advert`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xvrrp_fuzz::check_advert(data));
