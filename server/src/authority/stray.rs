//! Keys that came to a group that does not serve them.

use std::fmt;

use bailiwick_replication::GroupId;

use super::Place;
use crate::state::{DecodeError, Reader, put_bytes, put_varint};

/// Why a command was not run: one of its keys is not served here. It had no effect. The node that
/// has the client waits for a moment or asks elsewhere; what is displayed is what a client gets to
/// hear when that has led nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stray {
    /// The prefix is being moved, and will be served in a moment.
    Held {
        /// The prefix.
        prefix: Vec<u8>,
    },
    /// The prefix is served elsewhere.
    Gone {
        /// The prefix; empty if nothing is known.
        prefix: Vec<u8>,
        /// Who serves it, if that is known.
        group: Option<GroupId>,
        /// At which epoch; 0 if nothing is known.
        epoch: u64,
    },
}

impl Stray {
    /// What is wrong with a key at this place, if anything.
    #[must_use]
    pub fn of(place: Place<'_>) -> Option<Self> {
        match place {
            Place::Here => None,
            Place::Held { prefix } => Some(Self::Held {
                prefix: prefix.to_vec(),
            }),
            Place::Gone {
                prefix,
                group,
                epoch,
            } => Some(Self::Gone {
                prefix: prefix.to_vec(),
                group,
                epoch,
            }),
        }
    }

    /// The prefix that is concerned.
    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        match self {
            Self::Held { prefix } | Self::Gone { prefix, .. } => prefix,
        }
    }

    /// Writes it for another node.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Held { prefix } => {
                out.push(HELD);
                put_bytes(out, prefix);
            }
            Self::Gone {
                prefix,
                group,
                epoch,
            } => {
                out.push(GONE);
                put_bytes(out, prefix);
                put_varint(out, group.map_or(0, |group| u64::from(group.0) + 1));
                put_varint(out, *epoch);
            }
        }
    }

    /// Reads what [`Stray::put`] wrote, and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let [tag] = reader.array()?;
        let prefix = reader.string()?.to_vec();
        let stray = match tag {
            HELD => Self::Held { prefix },
            GONE => {
                let malformed = DecodeError::Malformed(reader.at());
                let group = match reader.varint()? {
                    0 => None,
                    number => Some(GroupId(u32::try_from(number - 1).map_err(|_| malformed)?)),
                };
                let epoch = reader.varint()?;
                Self::Gone {
                    prefix,
                    group,
                    epoch,
                }
            }
            _ => return Err(DecodeError::Malformed(0)),
        };
        if reader.is_done() {
            Ok(stray)
        } else {
            Err(DecodeError::Malformed(reader.at()))
        }
    }
}

const HELD: u8 = 0;
const GONE: u8 = 1;

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = self.prefix().escape_ascii();
        match self {
            Self::Held { .. } => write!(f, "TRYAGAIN Prefix '{prefix}' is being moved; try again"),
            Self::Gone { .. } => write!(f, "STRAY Prefix '{prefix}' is not served by this group"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stray_survives_the_way_to_another_node() {
        let gone = |group, epoch| Stray::Gone {
            prefix: b"eu:".to_vec(),
            group,
            epoch,
        };
        let held = Stray::Held {
            prefix: b"\xff'".to_vec(),
        };
        for stray in [held, gone(None, 0), gone(Some(GroupId(u32::MAX)), u64::MAX)] {
            let mut bytes = Vec::new();
            stray.put(&mut bytes);
            assert_eq!(Stray::decode(&bytes), Ok(stray));
            for len in 0..bytes.len() {
                assert!(Stray::decode(&bytes[..len]).is_err());
            }
            bytes.push(0);
            assert!(Stray::decode(&bytes).is_err());
        }
    }

    #[test]
    fn clients_read_what_to_do() {
        let held = Stray::Held {
            prefix: b"eu:".to_vec(),
        };
        assert_eq!(
            held.to_string(),
            "TRYAGAIN Prefix 'eu:' is being moved; try again"
        );
        let gone = Stray::Gone {
            prefix: b"eu:".to_vec(),
            group: None,
            epoch: 0,
        };
        assert_eq!(
            gone.to_string(),
            "STRAY Prefix 'eu:' is not served by this group"
        );
    }
}
