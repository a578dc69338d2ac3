//! Whatever a peer sends as a reply is decoded, awaited or refused, and a decoded reply does
//! not depend on what follows it.
#![no_main]

use bailiwick_frame::reply::{decode_resp2, decode_resp3};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(Some((_, len))) = decode_resp2(data) {
        let (_, alone) = decode_resp2(&data[..len]).unwrap().unwrap();
        assert_eq!(len, alone);
        assert!(decode_resp2(&data[..len - 1]).unwrap().is_none());
    }
    if let Ok(Some((_, len))) = decode_resp3(data) {
        let (_, alone) = decode_resp3(&data[..len]).unwrap().unwrap();
        assert_eq!(len, alone);
        assert!(decode_resp3(&data[..len - 1]).unwrap().is_none());
    }
});
