//! The CRC-64 that Redis puts behind its dumps: Jones's polynomial, reflected, starting from zero.

/// `0xad93d23594c935a9` with its bits in opposite order.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

/// One table for each of eight bytes that are taken at a time.
static TABLES: [[u64; 256]; 8] = tables();

/// A checksum over bytes that come one piece after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Crc(u64);

impl Crc {
    /// The checksum of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> u64 {
        let mut crc = Self::default();
        crc.update(bytes);
        crc.value()
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let mut crc = self.0;
        let mut words = bytes.chunks_exact(8);
        for word in words.by_ref() {
            let word: [u8; 8] = word.try_into().expect("chunks of eight");
            let mixed = (crc ^ u64::from_le_bytes(word)).to_le_bytes();
            // The first byte has seven more behind it.
            crc = (0..8).fold(0, |sum, at| sum ^ TABLES[7 - at][usize::from(mixed[at])]);
        }
        for &byte in words.remainder() {
            crc = TABLES[0][usize::from(crc as u8 ^ byte)] ^ crc >> 8;
        }
        self.0 = crc;
    }

    /// The checksum of all bytes so far.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }
}

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = tables[0][(before & 0xff) as usize] ^ before >> 8;
            byte += 1;
        }
        table += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_redis() {
        // The check value that Redis's own test has.
        assert_eq!(Crc::of(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(Crc::of(b""), 0);
    }

    #[test]
    fn pieces_have_the_checksum_of_the_whole() {
        let bytes: Vec<u8> = (0..100u8).map(|byte| byte.wrapping_mul(37)).collect();
        for cut in 0..bytes.len() {
            let mut crc = Crc::default();
            crc.update(&bytes[..cut]);
            crc.update(&bytes[cut..]);
            assert_eq!(crc.value(), Crc::of(&bytes), "{cut}");
        }
    }
}
