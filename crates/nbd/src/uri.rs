//! Where an export is (the NBD URI specification, `doc/uri.md`).

use std::fmt;
use std::path::PathBuf;

/// The port of NBD (IANA).
const PORT: u16 = 10809;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A host and its port.
    Tcp {
        /// A name or an address.
        host: String,
        /// The port.
        port: u16,
    },
    /// A socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A server and one of its exports: `nbd://HOST[:PORT]/EXPORT` or `nbd+unix:///EXPORT?socket=PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    /// Where the server is.
    pub address: Address,
    /// The name of the export; empty for the server's first.
    pub export: String,
}

/// Why a text is no URI of an export.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UriError(String);

impl Uri {
    /// Returns whether a text is meant to be such a URI.
    pub fn is_meant(text: &str) -> bool {
        text.split_once("://").is_some_and(|(scheme, _)| scheme == "nbd" || scheme.starts_with("nbd+"))
            || text.starts_with("nbds://")
            || text.starts_with("nbds+")
    }

    /// Reads a URI.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let wrong = |what: &str| UriError(format!("{what} in the NBD address {text:?}"));
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("there is no scheme"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, export) = rest.split_once('/').unwrap_or((rest, ""));
        let export = decode(export).ok_or_else(|| wrong("there is a wrong escape"))?;
        let address = match scheme {
            "nbd" => tcp(authority).ok_or_else(|| wrong("there is no host or a wrong port"))?,
            "nbd+unix" if authority.is_empty() => {
                let socket = query.split('&').find_map(|pair| pair.strip_prefix("socket="));
                let socket = socket.ok_or_else(|| wrong("there is no socket=PATH"))?;
                let path = decode(socket).ok_or_else(|| wrong("there is a wrong escape"))?;
                Address::Unix(PathBuf::from(path))
            }
            "nbds" | "nbds+unix" => {
                return Err(wrong("TLS is asked for, which is not supported (use a socket or a tunnel),"));
            }
            _ => return Err(wrong("there is an unknown scheme or a host beside a socket")),
        };
        Ok(Self { address, export })
    }
}

fn tcp(authority: &str) -> Option<Address> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = port.map_or(Some(PORT), |port| port.parse().ok())?;
    (!host.is_empty() && !host.contains('@')).then(|| Address::Tcp { host: host.to_owned(), port })
}

/// Resolves percent-encoding (RFC 3986, section 2.1).
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first == b'%' {
            let (digits, behind) = rest.split_at_checked(2)?;
            rest = behind;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(&str, &str)>) {
        let uri = Uri::parse(text).ok().map(|uri| (uri.address.to_string(), uri.export));
        let expected = expected.map(|(address, export)| (address.to_owned(), export.to_owned()));
        assert_eq!(uri, expected, "{text}");
    }

    #[test]
    fn uris_are_read() {
        check("nbd://host", Some(("host:10809", "")));
        check("nbd://host/", Some(("host:10809", "")));
        check("nbd://host:99/a%20disk/b", Some(("host:99", "a disk/b")));
        check("nbd://[::1]:99/x", Some(("::1:99", "x")));
        check("nbd+unix:///x?socket=/run/%41", Some(("/run/A", "x")));
        check("nbd+unix:///?a=b&socket=/s", Some(("/s", "")));
        for wrong in
            ["nbd://", "nbd://host:x", "nbd://host:99999", "nbd+unix:///x", "nbd+unix://h/?socket=/s"]
        {
            check(wrong, None);
        }
        for wrong in ["nbds://host", "ftp://host", "host", "nbd://host/%4", "nbd://host/%ff", "nbd://u@host"]
        {
            check(wrong, None);
        }
        assert!(Uri::is_meant("nbds://x") && Uri::is_meant("nbd+vsock://") && !Uri::is_meant("nbd.img"));
    }
}
