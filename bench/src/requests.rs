//! The requests of the load: which operation, which key, which bytes.
//!
//! Owns the key format, the random source and the preformatted parts of a GET and a SET, so that
//! writing a request is a few copies and a dozen digits. Values are windows into a pool of random
//! letters: no two neighbours are equal, none is a number, and none compresses to nothing.
//!
//! It opens no socket and reads no clock. It fails only when made, on sizes that cannot be.

use anyhow::{Result, ensure};

use crate::lists::ListRequest;

const KEY_PREFIX: &[u8] = b"key:";

/// Longest key and value the generator writes.
const MAX_KEY_BYTES: usize = 1024;
const MAX_VALUE_BYTES: usize = 64 * 1024 * 1024;

/// Start positions of values in the pool of letters.
const POOL_POSITIONS: usize = 64 * 1024;

/// Which operations the load consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mix {
    /// Reads only.
    Get,
    /// Writes only.
    Set,
    /// Reads and writes, each with probability one half.
    Mixed,
    /// Requests on one list.
    #[value(skip)]
    List(ListRequest),
}

/// In which order keys are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyOrder {
    /// Uniformly at random.
    Random,
    /// 0, 1, 2 and so on, which fills a server with each key once.
    Sequential,
}

/// What the requests look like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) mix: Mix,
    pub(crate) order: KeyOrder,
    pub(crate) keys: u64,
    pub(crate) key_bytes: usize,
    pub(crate) value_bytes: usize,
    pub(crate) seed: u64,
}

/// Keys of one fixed length: `key:` and the number, padded with zeros.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyFormat {
    digits: usize,
}

impl KeyFormat {
    /// A format of `key_bytes` in which `keys` numbers from zero are all different.
    ///
    /// # Errors
    /// If the length has too few digits for that many keys.
    pub(crate) fn new(key_bytes: usize, keys: u64) -> Result<Self> {
        ensure!(keys > 0, "at least one key is needed");
        ensure!(
            key_bytes <= MAX_KEY_BYTES,
            "a key may have at most {MAX_KEY_BYTES} bytes"
        );
        let needed = (keys - 1).to_string().len();
        let digits = key_bytes.saturating_sub(KEY_PREFIX.len());
        ensure!(
            digits >= needed,
            "{keys} keys need at least {} bytes per key, not {key_bytes}",
            KEY_PREFIX.len() + needed
        );
        Ok(Self { digits })
    }

    /// Length of each key.
    pub(crate) fn key_bytes(&self) -> usize {
        KEY_PREFIX.len() + self.digits
    }

    /// Appends the key of a number.
    pub(crate) fn write(&self, mut number: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(KEY_PREFIX);
        let first = out.len();
        out.resize(first + self.digits, b'0');
        for digit in out[first..].iter_mut().rev() {
            if number == 0 {
                break;
            }
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
}

/// A xorshift* generator: small, fast, and the same on every run with the same seed.
#[derive(Debug)]
pub(crate) struct Xorshift(u64);

impl Xorshift {
    /// Any seed will do; zero, from which xorshift cannot start, is replaced.
    pub(crate) fn new(seed: u64) -> Self {
        Self(if seed == 0 {
            0x9e37_79b9_7f4a_7c15
        } else {
            seed
        })
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, by the high half of a product, which is free of a slow division.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// The keys and values of one request after the other, in no protocol yet.
#[derive(Debug)]
pub(crate) struct Content {
    shape: Shape,
    format: KeyFormat,
    random: Xorshift,
    next_key: u64,
    letters: Vec<u8>,
}

impl Content {
    /// # Errors
    /// If the keys do not fit their length or the value is too large.
    pub(crate) fn new(shape: Shape) -> Result<Self> {
        let format = KeyFormat::new(shape.key_bytes, shape.keys)?;
        ensure!(
            (1..=MAX_VALUE_BYTES).contains(&shape.value_bytes),
            "a value has 1 to {MAX_VALUE_BYTES} bytes"
        );
        let mut random = Xorshift::new(shape.seed);
        let letters = (0..POOL_POSITIONS + shape.value_bytes)
            .map(|_| b'a' + random.below(26) as u8)
            .collect();
        Ok(Self {
            shape,
            format,
            random,
            next_key: 0,
            letters,
        })
    }

    /// Length of each key.
    pub(crate) fn key_bytes(&self) -> usize {
        self.format.key_bytes()
    }

    /// Length of each value.
    pub(crate) fn value_bytes(&self) -> usize {
        self.shape.value_bytes
    }

    /// The number of the next key.
    pub(crate) fn pick_key(&mut self) -> u64 {
        match self.shape.order {
            KeyOrder::Random => self.random.below(self.shape.keys),
            KeyOrder::Sequential => {
                let key = self.next_key;
                self.next_key = (key + 1) % self.shape.keys;
                key
            }
        }
    }

    /// Whether the next request writes.
    pub(crate) fn pick_write(&mut self) -> bool {
        match self.shape.mix {
            Mix::Get | Mix::List(_) => false,
            Mix::Set => true,
            Mix::Mixed => self.random.next() >> 63 == 1,
        }
    }

    /// Appends the key of a number.
    pub(crate) fn write_key(&self, key: u64, out: &mut Vec<u8>) {
        self.format.write(key, out);
    }

    /// Appends the next value.
    pub(crate) fn write_value(&mut self, out: &mut Vec<u8>) {
        let from = self.random.below(POOL_POSITIONS as u64) as usize;
        out.extend_from_slice(&self.letters[from..from + self.shape.value_bytes]);
    }
}

/// Writes one RESP request after the other.
#[derive(Debug)]
pub(crate) struct RequestWriter {
    content: Content,
    get_head: Vec<u8>,
    set_head: Vec<u8>,
    set_middle: Vec<u8>,
    /// The request on a list, if there are no others, and its beginning.
    list: Option<(ListRequest, Vec<u8>)>,
}

impl RequestWriter {
    /// # Errors
    /// If the keys do not fit their length or the value is too large.
    pub(crate) fn new(shape: Shape) -> Result<Self> {
        let content = Content::new(shape)?;
        let key_bytes = content.key_bytes();
        let list = match shape.mix {
            Mix::List(request) => Some((request, request.head(shape.value_bytes))),
            _ => None,
        };
        Ok(Self {
            content,
            get_head: format!("*2\r\n$3\r\nGET\r\n${key_bytes}\r\n").into_bytes(),
            set_head: format!("*3\r\n$3\r\nSET\r\n${key_bytes}\r\n").into_bytes(),
            set_middle: format!("\r\n${}\r\n", shape.value_bytes).into_bytes(),
            list,
        })
    }

    /// Appends the next request.
    pub(crate) fn push(&mut self, out: &mut Vec<u8>) {
        if let Some((request, head)) = &self.list {
            out.extend_from_slice(head);
            if request.has_element() {
                self.content.write_value(out);
                out.extend_from_slice(b"\r\n");
            }
            return;
        }
        let key = self.content.pick_key();
        if self.content.pick_write() {
            out.extend_from_slice(&self.set_head);
            self.content.write_key(key, out);
            out.extend_from_slice(&self.set_middle);
            self.content.write_value(out);
        } else {
            out.extend_from_slice(&self.get_head);
            self.content.write_key(key, out);
        }
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(format: KeyFormat, number: u64) -> String {
        let mut out = Vec::new();
        format.write(number, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn shape(mix: Mix, order: KeyOrder) -> Shape {
        Shape {
            mix,
            order,
            keys: 100,
            key_bytes: 16,
            value_bytes: 8,
            seed: 7,
        }
    }

    #[test]
    fn a_key_is_padded_to_its_length() {
        let format = KeyFormat::new(16, 1_000_000_000_000).unwrap();
        assert_eq!(format.key_bytes(), 16);
        for number in [0, 7, 10, 99_999, 123_456_789_012, 999_999_999_999] {
            assert_eq!(key(format, number), format!("key:{number:012}"));
        }
    }

    #[test]
    fn a_length_too_short_for_the_keys_is_refused() {
        assert!(KeyFormat::new(5, 10).is_ok());
        assert!(KeyFormat::new(5, 11).is_err());
        assert!(KeyFormat::new(3, 1).is_err());
        assert!(KeyFormat::new(16, 0).is_err());
    }

    #[test]
    fn requests_are_exact() {
        let mut out = Vec::new();
        let mut gets = RequestWriter::new(shape(Mix::Get, KeyOrder::Sequential)).unwrap();
        gets.push(&mut out);
        gets.push(&mut out);
        let get = |number: u32| format!("*2\r\n$3\r\nGET\r\n$16\r\nkey:{number:012}\r\n");
        assert_eq!(String::from_utf8(out).unwrap(), get(0) + &get(1));

        let mut out = Vec::new();
        RequestWriter::new(shape(Mix::Set, KeyOrder::Sequential))
            .unwrap()
            .push(&mut out);
        let text = String::from_utf8(out).unwrap();
        let value = text
            .strip_prefix("*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000000\r\n$8\r\n")
            .and_then(|rest| rest.strip_suffix("\r\n"))
            .unwrap();
        assert_eq!(value.len(), 8);
        assert!(value.bytes().all(|byte| byte.is_ascii_lowercase()));
    }

    #[test]
    fn random_keys_stay_in_range_and_reach_each_key() {
        let mut random = Xorshift::new(0);
        let mut seen = [false; 100];
        for _ in 0..10_000 {
            seen[random.below(100) as usize] = true;
        }
        assert!(seen.iter().all(|seen| *seen));
    }
}
