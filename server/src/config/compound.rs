//! Settings whose text has an inner structure: addresses, buffer limits, percentiles, save points
//! and event classes. The reasons for a refusal are those that Redis gives.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::settings::{BindAddress, BufferLimit, OutputBufferLimits};
use super::value::{Invalid, Kind, Value, parse_memory};

/// The most addresses to listen on.
const BIND_MAX: usize = 16;

/// What `bind` expects.
pub(super) const BIND: Kind = Kind::Text {
    placeholder: "ADDRESS...",
    expected: "IP addresses separated by spaces or commas (* for all IPv4, ::* for all IPv6)",
};

/// What `client-output-buffer-limit` expects.
pub(super) const BUFFER_LIMITS: Kind = Kind::Text {
    placeholder: "CLASS HARD SOFT SECONDS ...",
    expected: "one or more of: normal|replica|pubsub, hard limit, soft limit, seconds",
};

/// What `latency-tracking-info-percentiles` expects.
pub(super) const PERCENTILES: Kind = Kind::Text {
    placeholder: "PERCENTILE...",
    expected: "numbers from 0 to 100 separated by spaces",
};

/// What `save` expects.
pub(super) const SAVE_POINTS: Kind = Kind::Text {
    placeholder: "SECONDS CHANGES ...",
    expected: "pairs of seconds and changes, or nothing",
};

/// What `notify-keyspace-events` expects.
pub(super) const EVENT_CLASSES: Kind = Kind::Text {
    placeholder: "CLASSES",
    expected: "letters out of Ag$lshzxeKEtmdn, or nothing",
};

/// What a directory expects.
pub(super) const DIRECTORY: Kind = Kind::Text {
    placeholder: "DIR",
    expected: "the path of a directory",
};

impl Value for Vec<BindAddress> {
    fn parse(text: &str, _: &Kind) -> Result<Self, Invalid> {
        let words = text.split([' ', ',', '\t']).filter(|word| !word.is_empty());
        let addresses: Option<Self> = words.map(parse_address).collect();
        match addresses {
            Some(list) if !list.is_empty() && list.len() <= BIND_MAX => Ok(list),
            Some(list) if list.len() > BIND_MAX => {
                Err(Invalid::Other("Too many bind addresses specified.".into()))
            }
            _ => Err(Invalid::Other(
                "Failed to bind to specified addresses.".into(),
            )),
        }
    }

    fn show(&self) -> String {
        let words: Vec<String> = self.iter().map(show_address).collect();
        words.join(" ")
    }
}

impl Value for PathBuf {
    fn parse(text: &str, _: &Kind) -> Result<Self, Invalid> {
        if text.is_empty() || text.contains('\0') {
            return Err(Invalid::Other("argument must be a path".into()));
        }
        Ok(Self::from(text))
    }

    fn show(&self) -> String {
        self.to_string_lossy().into_owned()
    }
}

impl Value for Vec<f64> {
    fn parse(text: &str, _: &Kind) -> Result<Self, Invalid> {
        let parse = |word: &str| match word.parse::<f64>() {
            Ok(percentile) if (0.0..=100.0).contains(&percentile) => Ok(percentile),
            Ok(_) => Err(Invalid::Other(
                "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"
                    .into(),
            )),
            Err(_) => Err(Invalid::Other(
                "Invalid latency-tracking-info-percentiles parameters".into(),
            )),
        };
        text.split_whitespace().map(parse).collect()
    }

    fn show(&self) -> String {
        let words: Vec<String> = self.iter().map(f64::to_string).collect();
        words.join(" ")
    }
}

impl OutputBufferLimits {
    /// These limits with the classes named in `text` changed; the others stay as they are.
    ///
    /// # Errors
    /// The text is not groups of class, hard limit, soft limit and seconds.
    pub(super) fn changed(mut self, text: &str) -> Result<Self, Invalid> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (groups, []) = words.as_chunks::<4>() else {
            let reason = "Wrong number of arguments in buffer limit configuration.";
            return Err(Invalid::Other(reason.into()));
        };
        for [class, hard, soft, seconds] in groups {
            let limit = match class.to_ascii_lowercase().as_str() {
                "normal" => &mut self.normal,
                "replica" | "slave" => &mut self.replica,
                "pubsub" => &mut self.pubsub,
                _ => {
                    let reason = "Invalid client class specified in buffer limit configuration.";
                    return Err(Invalid::Other(reason.into()));
                }
            };
            *limit = parse_limit(hard, soft, seconds).ok_or(Invalid::Other(
                "Error in hard, soft or soft_seconds setting in buffer limit configuration.".into(),
            ))?;
        }
        Ok(self)
    }

    /// As `CONFIG GET` shows it; Redis still calls replicas by their old name there.
    pub(super) fn show(&self) -> String {
        let mut text = String::new();
        let classes = [
            ("normal", self.normal),
            ("slave", self.replica),
            ("pubsub", self.pubsub),
        ];
        for (
            name,
            BufferLimit {
                hard_bytes,
                soft_bytes,
                soft_s,
            },
        ) in classes
        {
            let space = if text.is_empty() { "" } else { " " };
            write!(text, "{space}{name} {hard_bytes} {soft_bytes} {soft_s}")
                .expect("writing to a String does not fail");
        }
        text
    }
}

/// Save points as they are shown.
pub(super) fn save_points(text: &str) -> Result<String, Invalid> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let pairs = words.as_chunks::<2>();
    let is_pair = |[seconds, changes]: &[&str; 2]| {
        seconds.parse::<u32>().is_ok_and(|seconds| seconds > 0) && changes.parse::<u32>().is_ok()
    };
    if pairs.1.is_empty() && pairs.0.iter().all(is_pair) {
        Ok(words.join(" "))
    } else {
        Err(Invalid::Other("Invalid save parameters".into()))
    }
}

/// Classes of keyspace events in the order in which Redis shows them.
pub(super) fn event_classes(text: &str) -> Result<String, Invalid> {
    /// The classes that `A` stands for.
    const ALL: &str = "g$lshzxetd";
    if !text
        .chars()
        .all(|class| class == 'A' || class_order().any(|known| known == class))
    {
        let reason = "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.";
        return Err(Invalid::Other(reason.into()));
    }
    let has = |class: char| text.contains(class) || (text.contains('A') && ALL.contains(class));
    if ALL.chars().all(has) {
        let rest = class_order().filter(|class| !ALL.contains(*class) && has(*class));
        return Ok(std::iter::once('A').chain(rest).collect());
    }
    Ok(class_order().filter(|class| has(*class)).collect())
}

/// Every class, in the order in which they are shown.
fn class_order() -> impl Iterator<Item = char> {
    "g$lshzxetdnKEm".chars()
}

fn parse_limit(hard: &str, soft: &str, seconds: &str) -> Option<BufferLimit> {
    Some(BufferLimit {
        hard_bytes: parse_memory(hard).ok()?,
        soft_bytes: parse_memory(soft).ok()?,
        soft_s: seconds.parse().ok()?,
    })
}

fn parse_address(word: &str) -> Option<BindAddress> {
    let (optional, word) = match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word),
    };
    let ip = match word {
        "*" => Ipv4Addr::UNSPECIFIED.into(),
        "::*" => Ipv6Addr::UNSPECIFIED.into(),
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        word => word.parse().ok()?,
    };
    Some(BindAddress { ip, optional })
}

fn show_address(address: &BindAddress) -> String {
    let sign = if address.optional { "-" } else { "" };
    match address.ip {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => format!("{sign}*"),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => format!("{sign}::*"),
        ip => format!("{sign}{ip}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_separated_by_spaces_or_commas() {
        let list = Vec::<BindAddress>::parse("127.0.0.1,::1  -10.0.0.1 *", &BIND).unwrap();
        assert_eq!(list.show(), "127.0.0.1 ::1 -10.0.0.1 *");
        assert!(list[2].optional && !list[0].optional);
        for text in ["", " , ", "no.such.name", "256.0.0.1"] {
            assert!(Vec::<BindAddress>::parse(text, &BIND).is_err(), "{text}");
        }
    }

    #[test]
    fn a_buffer_limit_changes_only_the_classes_it_names() {
        let limits = OutputBufferLimits::default()
            .changed("replica 1mb 2mb 3")
            .unwrap();
        assert_eq!(
            limits.show(),
            "normal 0 0 0 slave 1048576 2097152 3 pubsub 0 0 0"
        );
        let limits = limits.changed("NORMAL 1k 1kb 1 pubsub 5 6 7").unwrap();
        assert_eq!(
            limits.show(),
            "normal 1000 1024 1 slave 1048576 2097152 3 pubsub 5 6 7"
        );
    }

    #[test]
    fn a_bad_buffer_limit_is_refused_in_the_words_of_redis() {
        let refusals = [
            (
                "normal 1 2",
                "Wrong number of arguments in buffer limit configuration.",
            ),
            (
                "foo 1 2 3",
                "Invalid client class specified in buffer limit configuration.",
            ),
            (
                "normal 1mb 2mb x",
                "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
            ),
        ];
        for (text, reason) in refusals {
            let refused = OutputBufferLimits::default().changed(text).unwrap_err();
            assert_eq!(refused.to_string(), reason);
        }
    }

    #[test]
    fn percentiles_lie_between_0_and_100() {
        assert_eq!(
            Vec::<f64>::parse("50 99  99.9", &PERCENTILES)
                .unwrap()
                .show(),
            "50 99 99.9"
        );
        assert_eq!(Vec::<f64>::parse("", &PERCENTILES), Ok(vec![]));
        for text in ["101", "-1", "NaN", "abc"] {
            assert!(Vec::<f64>::parse(text, &PERCENTILES).is_err(), "{text}");
        }
    }

    #[test]
    fn save_points_come_in_pairs() {
        assert_eq!(save_points("900 1  300 10").unwrap(), "900 1 300 10");
        assert_eq!(save_points("").unwrap(), "");
        for text in ["900", "abc", "0 1", "900 -1"] {
            assert_eq!(
                save_points(text).unwrap_err().to_string(),
                "Invalid save parameters"
            );
        }
    }

    #[test]
    fn event_classes_are_shown_in_the_order_of_redis() {
        let shown = [
            ("KEA", "AKE"),
            ("gxE", "gxE"),
            ("KEn", "nKE"),
            ("g$lshzxetd", "A"),
            ("AKEm", "AKEm"),
            ("", ""),
        ];
        for (text, expected) in shown {
            assert_eq!(event_classes(text).unwrap(), expected, "{text}");
        }
        assert!(event_classes("Q").is_err());
    }
}
