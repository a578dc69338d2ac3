//! `host:port`, as people write where a node is.
//!
//! The host is kept as it was written and looked up when it is needed, since what a name stands
//! for may change while a node runs. An address of IPv6 stands in brackets. Text that is no such
//! address is refused with what is wrong with it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;

/// Where a node can be reached.
///
/// Invariant: `port > 0`; the host is a name of letters, digits, `-`, `_` and `.`, in lower case,
/// or an IP address that is not unspecified.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    host: String,
    port: u16,
}

/// Why a text is no address. Displayed to complete "expected host:port, ...".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAddress {
    /// There is no colon.
    #[error("but there is no port")]
    NoPort,
    /// Not a number in range.
    #[error("with a port from 1 to 65535")]
    Port,
    /// Nothing before the colon, or something that is neither a name nor an IP address.
    #[error("with a name or an IP address as host, IPv6 in brackets")]
    Host,
    /// Such as 0.0.0.0.
    #[error("with a host that others can connect to, which {0} is not")]
    Unspecified(IpAddr),
}

impl Address {
    /// The host as it was written, in lower case and without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same host with another port, which must not be 0.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        debug_assert!(port > 0, "port 0 is no port");
        Self {
            host: self.host.clone(),
            port,
        }
    }

    /// Looks the host up. Blocks while the system asks its name servers; never for an IP address.
    ///
    /// # Errors
    /// The name is not known or cannot be asked for.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<SocketAddr> = (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        if found.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the name has no address",
            ));
        }
        Ok(found)
    }
}

impl From<SocketAddr> for Address {
    /// The address must have a port and a host that others can connect to.
    fn from(address: SocketAddr) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let (host, port) = text.rsplit_once(':').ok_or(NoAddress::NoPort)?;
        let host = parse_host(host)?;
        // A sign is part of what the standard library takes for a number.
        let is_plain = port.bytes().all(|byte| byte.is_ascii_digit());
        let number = if is_plain { port.parse().ok() } else { None };
        match number {
            Some(port) if port > 0 => Ok(Self { host, port }),
            _ => Err(NoAddress::Port),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn parse_host(host: &str) -> Result<String, NoAddress> {
    let ip = match host.strip_prefix('[') {
        Some(rest) => {
            let ip = rest.strip_suffix(']').ok_or(NoAddress::Host)?;
            Some(IpAddr::V6(
                ip.parse::<Ipv6Addr>().map_err(|_| NoAddress::Host)?,
            ))
        }
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    };
    match ip {
        Some(ip) if ip.is_unspecified() => Err(NoAddress::Unspecified(ip)),
        Some(ip) => Ok(ip.to_string()),
        None if is_name(host) => Ok(host.to_ascii_lowercase()),
        None => Err(NoAddress::Host),
    }
}

/// Whether this could be a host's name. All digits and dots is a mistyped IP address.
fn is_name(host: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    host.bytes().all(fits) && host.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ip_addresses_with_a_port_are_addresses() {
        let shown = [
            ("localhost:7000", "localhost:7000"),
            ("Node-1.Example.com:1", "node-1.example.com:1"),
            ("10.0.0.1:65535", "10.0.0.1:65535"),
            ("[::1]:6379", "[::1]:6379"),
            ("[2001:DB8:0:0::1]:6379", "[2001:db8::1]:6379"),
        ];
        for (text, expected) in shown {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), expected);
            assert_eq!(expected.parse(), Ok(address));
        }
    }

    #[test]
    fn other_text_is_no_address() {
        let reasons = [
            ("", NoAddress::NoPort),
            ("localhost", NoAddress::NoPort),
            ("localhost:", NoAddress::Port),
            ("localhost:0", NoAddress::Port),
            ("localhost:+1", NoAddress::Port),
            ("localhost:65536", NoAddress::Port),
            ("localhost:http", NoAddress::Port),
            (":7000", NoAddress::Host),
            ("a b:7000", NoAddress::Host),
            ("::1:7000", NoAddress::Host),
            ("[::1:7000", NoAddress::Host),
            ("[10.0.0.1]:7000", NoAddress::Host),
            ("10.0.0.256:7000", NoAddress::Host),
            (
                "0.0.0.0:7000",
                NoAddress::Unspecified(Ipv4Addr::UNSPECIFIED.into()),
            ),
            (
                "[::]:7000",
                NoAddress::Unspecified(Ipv6Addr::UNSPECIFIED.into()),
            ),
        ];
        for (text, reason) in reasons {
            assert_eq!(text.parse::<Address>(), Err(reason), "{text}");
        }
    }

    #[test]
    fn an_ip_address_resolves_to_itself() {
        let address: Address = "[::1]:7000".parse().unwrap();
        let expected: SocketAddr = "[::1]:7000".parse().unwrap();
        assert_eq!(address.resolve().unwrap(), [expected]);
        assert_eq!(Address::from(expected), address);
    }
}
