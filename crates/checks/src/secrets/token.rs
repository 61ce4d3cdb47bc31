//! Keys and tokens that are known by a prefix and a structure, some with a checksum.
//!
//! Structures are from the issuers' pages on their formats; the checksum of GitHub and
//! npm is described in "Behind GitHub's new authentication token formats" (2021).

use crate::detectors::rule::load;
use airlock_inspect::{Detector, Hit, Literal, Normal, Value, Window};
use airlock_model::{Check, Confidence, Severity};
use serde::Deserialize;

/// Fewest different characters of a token: what people type to stand for one has less.
const DISTINCT_MIN: usize = 8;

/// What the rule of a token holds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenData {
    /// How sure the structure makes, in percent.
    pub structure: u8,
    /// How sure a right checksum, or another proof, makes, in percent.
    pub proven: u8,
}

/// A token behind a literal.
struct Token {
    /// Its first character, from the literal.
    first: isize,
    length: usize,
    proven: bool,
}

/// What the code knows of a token.
#[derive(Debug, Clone, Copy)]
struct Kind {
    name: &'static str,
    literals: &'static [Literal],
    find: fn(&Window<'_>) -> Option<Token>,
}

const KINDS: &[Kind] = &[
    kind("aws_key", const { &[Literal::new(b"AKIA"), Literal::new(b"ASIA")] }, |window| {
        let upper = |byte: &u8| matches!(byte, b'A'..=b'Z' | b'2'..=b'7');
        exactly(window, 20, upper)
    }),
    kind(
        "github_token",
        const {
            &[
                Literal::new(b"ghp_"),
                Literal::new(b"gho_"),
                Literal::new(b"ghu_"),
                Literal::new(b"ghs_"),
                Literal::new(b"ghr_"),
                Literal::new(b"github_pat_"),
            ]
        },
        github,
    ),
    kind("npm_token", const { &[Literal::new(b"npm_")] }, |window| checksummed(window, 4)),
    kind("gitlab_token", const { &[Literal::new(b"glpat-")] }, |window| at_least(window, 6, 20, word)),
    kind(
        "slack_token",
        const {
            &[
                Literal::new(b"xoxb-"),
                Literal::new(b"xoxp-"),
                Literal::new(b"xoxa-"),
                Literal::new(b"xoxr-"),
                Literal::new(b"xoxs-"),
            ]
        },
        slack,
    ),
    kind("stripe_key", const { &[Literal::new(b"sk_live_"), Literal::new(b"rk_live_")] }, |window| {
        at_least(window, 8, 24, u8::is_ascii_alphanumeric)
    }),
    kind("google_api_key", const { &[Literal::new(b"AIza")] }, |window| exactly(window, 39, word)),
    kind("azure_storage_key", const { &[Literal::new(b"AccountKey=")] }, |window| {
        let body = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        let token = at_least(window, 11, 86, body).filter(|token| token.length == 97)?;
        window.after(97, 2).eq(b"==").then_some(Token { length: 99, ..token })
    }),
    kind("pypi_token", const { &[Literal::new(b"pypi-AgEIcHlwaS5vcmc")] }, |window| {
        at_least(window, 5, 64, word)
    }),
    // Objects whose first member is `alg`, `typ` or `kid`.
    kind(
        "jwt",
        const { &[Literal::new(b"eyJhbGciOi"), Literal::new(b"eyJ0eXAiOi"), Literal::new(b"eyJraWQiOi")] },
        jwt,
    ),
    kind(
        "password_hash",
        const {
            &[
                Literal::new(b":$6$"),
                Literal::new(b":$y$"),
                Literal::new(b":$5$"),
                Literal::new(b":$1$"),
                Literal::new(b":$2b$"),
            ]
        },
        password_hash,
    ),
    kind("kubeconfig", const { &[Literal::new(b"client-key-data:")] }, kubeconfig),
    kind("netrc", const { &[Literal::new(b"machine ")] }, netrc),
];

const fn kind(
    name: &'static str,
    literals: &'static [Literal],
    find: fn(&Window<'_>) -> Option<Token>,
) -> Kind {
    Kind { name, literals, find }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as the predicates of the standard library")]
fn word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// Returns whether a character of a word stands right before the literal.
fn attached(window: &Window<'_>) -> bool {
    window.before.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Returns how many characters from `start` on are of a kind.
fn run(window: &Window<'_>, start: usize, of: impl Fn(&u8) -> bool) -> usize {
    window.after.get(start..).unwrap_or_default().iter().take_while(|byte| of(byte)).count()
}

/// A token of `length` characters, its prefix included, none of the kind behind it.
fn exactly(window: &Window<'_>, length: usize, of: impl Fn(&u8) -> bool) -> Option<Token> {
    let alone =
        run(window, 0, &of) == length && !window.after.get(length).is_some_and(u8::is_ascii_alphanumeric);
    (alone && !attached(window)).then_some(Token { first: 0, length, proven: false })
}

/// A token with at least `least` characters of a kind behind its prefix.
fn at_least(window: &Window<'_>, prefix: usize, least: usize, of: impl Fn(&u8) -> bool) -> Option<Token> {
    let body = run(window, prefix, of);
    (body >= least && !attached(window)).then_some(Token { first: 0, length: prefix + body, proven: false })
}

/// A token of 36 letters and digits, the last six of which are a checksum of the others.
fn checksummed(window: &Window<'_>, prefix: usize) -> Option<Token> {
    let token = exactly(window, prefix + 36, |byte| byte.is_ascii_alphanumeric() || *byte == b'_')?;
    let body = window.after.get(prefix..prefix + 36)?;
    let plain = body.iter().all(u8::is_ascii_alphanumeric);
    plain.then_some(Token { proven: base62(crc32(&body[..30])) == body[30..], ..token })
}

fn github(window: &Window<'_>) -> Option<Token> {
    if window.after.starts_with(b"github_pat_") {
        let fits = window.after.get(33) == Some(&b'_');
        return exactly(window, 93, |byte| byte.is_ascii_alphanumeric() || *byte == b'_').filter(|_| fits);
    }
    checksummed(window, 4)
}

fn slack(window: &Window<'_>) -> Option<Token> {
    let digits = run(window, 5, u8::is_ascii_digit);
    let token = at_least(window, 5, 30, word)?;
    (digits >= 9).then_some(token)
}

/// A token whose header decodes to an object that names an algorithm.
fn jwt(window: &Window<'_>) -> Option<Token> {
    let header = run(window, 0, word);
    let payload = run(window, header + 1, word);
    let dots =
        window.after.get(header) == Some(&b'.') && window.after.get(header + 1 + payload) == Some(&b'.');
    if !dots || payload < 16 || attached(window) {
        return None;
    }
    let signature = run(window, header + payload + 2, word);
    let json = decode_base64url(&window.after[..header]);
    let names = memchr::memmem::find(&json, b"\"alg\"").is_some();
    let object = window.after[header + 1..].starts_with(b"eyJ");
    (names && object && signature >= 16).then_some(Token {
        first: 0,
        length: header + payload + signature + 2,
        proven: true,
    })
}

/// Decodes base64 with the alphabet for addresses (RFC 4648, section 5), up to the
/// first character that is not of it.
fn decode_base64url(text: &[u8]) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'-' | b'+' => Some(62),
        b'_' | b'/' => Some(63),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(text.len());
    let (mut bits, mut count) = (0_u32, 0);
    for value in text.iter().map_while(|byte| value(*byte)) {
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            let [low, ..] = (bits >> count).to_le_bytes();
            bytes.push(low);
        }
    }
    bytes
}

/// A line of `/etc/shadow` (shadow(5)): a name before, a salt and a hash, seven fields behind.
fn password_hash(window: &Window<'_>) -> Option<Token> {
    let line = window.before.iter().rposition(|byte| matches!(byte, b'\n' | 0)).map_or(0, |end| end + 1);
    let name = &window.before[line..];
    let named = (1..=32).contains(&name.len()) && name.iter().all(|byte| word(byte) || *byte == b'.');
    let body =
        run(window, 1, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'$' | b'.' | b'/' | b'='));
    let long = body >= 30;
    let rest = window.after.get(1 + body..)?;
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let fields = rest[..end].split(|byte| *byte == b':').count();
    let dates = rest[..end].iter().all(|byte| byte.is_ascii_digit() || *byte == b':' || *byte == b'\r');
    (named && long && fields > 1).then_some(Token { first: 1, length: body, proven: fields == 8 && dates })
}

/// A client key in the configuration of Kubernetes: base64 of armoured text.
fn kubeconfig(window: &Window<'_>) -> Option<Token> {
    let start = 16 + run(window, 16, |byte| matches!(byte, b' ' | b'"'));
    let body = run(window, start, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
    let armored = window.after.get(start..)?.starts_with(b"LS0tLS1CRUdJTi");
    (body >= 64).then_some(Token { first: 0, length: start + body, proven: armored })
}

/// An entry of `.netrc`: a machine, a login and a password.
fn netrc(window: &Window<'_>) -> Option<Token> {
    let line_start = window.before.last().is_none_or(|byte| matches!(byte, b'\n' | b' ' | 0));
    let mut words = window.after.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).take(6);
    let mut next = || words.next();
    let (_, host, login, user, password, value) = (next()?, next()?, next()?, next()?, next()?, next()?);
    let named = login == b"login" && password == b"password" && value.len() >= 4;
    let plain = host.contains(&b'.') && !host.contains(&b'<') && !user.is_empty();
    if !(line_start && named && plain) {
        return None;
    }
    let length = memchr::memmem::find(window.after, value)? + value.len();
    // What manuals show is words; a password worth having is more.
    let mixed = value.iter().any(u8::is_ascii_digit) && value.iter().any(u8::is_ascii_alphabetic);
    // A file of them begins with one, or has others before.
    let leads = window.from_start && window.before.is_empty();
    let listed = leads || memchr::memmem::find(window.before, b" login ").is_some();
    Some(Token { first: 0, length, proven: mixed && listed })
}

/// CRC-32 of ISO/IEC 3309.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// Writes a number with six digits, letters in upper case before those in lower case.
fn base62(mut number: u32) -> [u8; 6] {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = [b'0'; 6];
    for slot in text.iter_mut().rev() {
        *slot = DIGITS[usize::try_from(number % 62).unwrap_or(0)];
        number /= 62;
    }
    text
}

/// Finds tokens of one kind.
#[derive(Debug)]
struct Tokens {
    kind: Kind,
    check: Check,
    severity: Severity,
    data: TokenData,
}

/// Makes the detectors of all tokens.
pub(crate) fn tokens() -> impl Iterator<Item = Box<dyn Detector>> {
    KINDS.iter().map(|kind| {
        let rule = load::<TokenData>(&format!("secrets/{}", kind.name));
        let tokens = Tokens { kind: *kind, check: rule.check, severity: rule.severity, data: rule.data };
        Box::new(tokens) as Box<dyn Detector>
    })
}

impl Detector for Tokens {
    fn name(&self) -> &'static str {
        self.kind.name
    }

    fn check(&self) -> Check {
        self.check
    }

    fn severity(&self) -> Severity {
        self.severity
    }

    fn literals(&self) -> &[Literal] {
        self.kind.literals
    }

    fn verify_literal(&self, _: usize, window: &Window<'_>) -> Option<Hit> {
        let token = (self.kind.find)(window)?;
        let start = usize::try_from(token.first).ok()?;
        let text = window.after.get(start..start + token.length)?;
        let mut seen = [false; 256];
        for byte in text {
            seen[usize::from(*byte)] = true;
        }
        let poor = seen.iter().filter(|seen| **seen).count() < DISTINCT_MIN;
        let example = memchr::memmem::find(text, b"EXAMPLE").is_some();
        let percent = if token.proven { self.data.proven } else { self.data.structure };
        let percent = if poor || example { percent.min(30) } else { percent };
        Some(Hit::Value(Value {
            first: token.first,
            length: token.length,
            confidence: Confidence::percent(percent),
            normal: Normal::of(text),
            display: format!("{} ({} characters)", self.kind.name, token.length),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(&base62(0), b"000000");
        assert_eq!(&base62(61), b"00000z");
        assert_eq!(&base62(62), b"000010");
        assert_eq!(decode_base64url(b"eyJhbGciOiJub25lIn0"), b"{\"alg\":\"none\"}");
    }
}
