//! What the two sites say to each other.
//!
//! A frame is two little-endian `u32` lengths, of the header and of the body, then
//! the header (a [`Message`] in postcard) and the body (raw bytes, used by
//! [`Message::Data`] only).

use airlock_model::{ChunkId, Extent, Machine, Space, TenantKey};
use airlock_policy::{OnFail, PolicyDigest};
use serde::{Deserialize, Serialize};

/// The version of the protocol that this crate speaks.
pub const VERSION: u32 = 3;
/// Most bytes in the header of a frame.
pub const HEADER_BYTES_MAX: usize = 8 << 20;
/// Most bytes in the body of a frame.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// Bytes that a sender gathers into one group before it offers them.
pub const GROUP_BYTES: usize = 4 << 20;
/// Most chunks in a group.
pub const ENTRIES_MAX: usize = 8192;

/// The manager's opening.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version that it speaks.
    pub version: u32,
    /// The virtual data center that the VM shall go to.
    pub vdc: String,
    /// What the VM is called.
    pub vm: String,
    /// Its disks and its other files: the address space that all extents count in.
    pub space: Space,
    /// What it is, if its bundle says so.
    pub machine: Option<Machine>,
    /// The source's policy, as YAML.
    pub policy: String,
    /// What to do when something is held.
    pub on_fail: OnFail,
    /// Digest of the rules that the source inspects with.
    pub rules: [u8; 32],
    /// The source's public signing key.
    pub key: [u8; 32],
    /// Whether an unfinished transfer of this VM is to be continued.
    pub resume: bool,
}

/// The director's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version that it speaks.
    pub version: u32,
    /// The id of the transfer.
    pub transfer: [u8; 16],
    /// What lets data streams join it.
    pub token: [u8; 32],
    /// The key that names this tenant's chunks.
    pub tenant_key: TenantKey,
    /// The destination's policy, as YAML.
    pub policy: String,
    /// Digest of the effective policy, as the director computed it.
    pub effective: PolicyDigest,
    /// The director's public signing key.
    pub key: [u8; 32],
    /// Most bytes that one stream may have offered and not yet got rid of.
    pub credit: u64,
    /// How many bytes of this transfer are durable from before.
    pub durable: u64,
}

/// Why a director does not take part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What kind of no it is.
    pub kind: RefusalKind,
    /// For people: what, why, what next.
    pub text: String,
}

/// What kind of no a [`Refusal`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalKind {
    /// No such virtual data center, VM or transfer.
    NotFound,
    /// Another transfer of this VM is under way.
    Busy,
    /// The peer may not do that.
    NotAuthorised,
    /// The peer speaks another version or breaks the protocol.
    Protocol,
    /// The director failed.
    Failed,
}

/// A chunk on offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name under the tenant's key.
    pub id: ChunkId,
    /// The parts of the address space that its bytes belong to, in its own order.
    pub extents: Vec<Extent>,
}

/// A set of small numbers: bit `i` of byte `i / 8`, lowest bit first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bits(Vec<u8>);

impl Bits {
    /// Returns the set of the positions at which `flags` is true.
    pub fn of(flags: &[bool]) -> Self {
        let byte = |eight: &[bool]| {
            eight.iter().enumerate().fold(0_u8, |byte, (bit, &flag)| byte | (u8::from(flag) << bit))
        };
        Self(flags.chunks(8).map(byte).collect())
    }

    /// Returns whether `index` is in the set.
    pub fn contains(&self, index: usize) -> bool {
        self.0.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
    }
}

/// Everything that is ever said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Manager, control: opens a transfer.
    Hello(Box<Hello>),
    /// Director, control: takes part.
    Welcome(Box<Welcome>),
    /// Director, any stream: does not.
    Refuse(Refusal),
    /// Manager, data stream: joins a transfer.
    Attach {
        /// The transfer.
        transfer: [u8; 16],
        /// Its token.
        token: [u8; 32],
    },
    /// Director, data stream: joined.
    Attached,
    /// Manager: these chunks come next.
    Offer {
        /// The group, numbered by the sender within the stream.
        group: u64,
        /// The chunks.
        entries: Vec<Entry>,
    },
    /// Director: of the group, these are to be sent.
    Need {
        /// The group.
        group: u64,
        /// Positions in the offer.
        need: Bits,
    },
    /// Manager: the bytes of the needed chunks one after the other, in the body.
    Data {
        /// The group.
        group: u64,
    },
    /// Director: all groups up to and including this one survive a crash.
    Durable {
        /// The last of them.
        group: u64,
    },
    /// Manager, data stream: nothing more comes.
    Close,
    /// Director, data stream: everything that came is durable.
    Closed,
    /// Manager, control: everything was sent; here is what the source has to say (JSON).
    Finish {
        /// The report.
        report: Vec<u8>,
    },
    /// Either, control: still at work. Tells the peer that waiting is worth it.
    Working {
        /// Bytes judged so far.
        done: u64,
        /// Bytes to judge.
        total: u64,
    },
    /// Director, control: the statement to be signed by both.
    Propose {
        /// The payload of the envelope.
        payload: Vec<u8>,
        /// The director's signature: key id and base64.
        signature: (String, String),
    },
    /// Manager, control: signed.
    Countersign {
        /// The manager's signature: key id and base64.
        signature: (String, String),
    },
    /// Director, control: the end; the evidence file.
    Sealed {
        /// The state that the transfer ended in.
        state: String,
        /// The bytes of the evidence file.
        evidence: Vec<u8>,
    },
    /// Manager, data stream: what comes on it from now on says nothing of what the disk means. Partition tables
    /// and metadata come before.
    Described,
    /// Director, data stream: the transfer is refused already. Nothing more is stored, and the manager shall send
    /// nothing more on any stream but the end.
    Stop,
}

/// Why a frame was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A length is over its limit.
    #[error("frame with a {part} of {length} bytes, over the limit of {limit}")]
    TooLarge {
        /// `header` or `body`.
        part: &'static str,
        /// What the frame says.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The header is no message.
    #[error("frame header is not a message of protocol version {VERSION}")]
    Header,
}

/// Returns the eight bytes of lengths and the header of a frame.
pub fn encode(message: &Message, body_bytes: usize) -> Result<Vec<u8>, FrameError> {
    let header = postcard::to_stdvec(message).map_err(|_| FrameError::Header)?;
    let header_bytes = bounded("header", header.len(), HEADER_BYTES_MAX)?;
    let body_bytes = bounded("body", body_bytes, BODY_BYTES_MAX)?;
    let mut frame = Vec::with_capacity(header.len().saturating_add(8));
    frame.extend_from_slice(&header_bytes.to_le_bytes());
    frame.extend_from_slice(&body_bytes.to_le_bytes());
    frame.extend_from_slice(&header);
    Ok(frame)
}

/// Returns the lengths of the header and the body that the first eight bytes of a frame announce.
pub fn decode_lengths(lengths: [u8; 8]) -> Result<(usize, usize), FrameError> {
    let word = u64::from_le_bytes(lengths);
    let read = |bits: u64| usize::try_from(bits & u64::from(u32::MAX)).unwrap_or(usize::MAX);
    let (header, body) = (read(word), read(word >> 32));
    bounded("header", header, HEADER_BYTES_MAX)?;
    bounded("body", body, BODY_BYTES_MAX)?;
    Ok((header, body))
}

/// Reads the header of a frame; bytes behind the message are refused.
pub fn decode(header: &[u8]) -> Result<Message, FrameError> {
    match postcard::take_from_bytes(header) {
        Ok((message, [])) => Ok(message),
        _ => Err(FrameError::Header),
    }
}

fn bounded(part: &'static str, length: usize, limit: usize) -> Result<u32, FrameError> {
    match u32::try_from(length) {
        Ok(short) if length <= limit => Ok(short),
        _ => Err(FrameError::TooLarge { part, length, limit }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn version_3_of_the_format_stays_as_it_is() {
        let offer = Message::Offer {
            group: 300,
            entries: vec![Entry { id: ChunkId([7; 32]), extents: vec![Extent::new(4096, 5)] }],
        };
        let mut golden = vec![42, 0, 0, 0, 0, 0, 0, 0, 5, 0xac, 2, 1];
        golden.extend([7; 32]);
        golden.extend([1, 0x80, 0x20, 5]);
        golden[0] = u8::try_from(golden.len() - 8).unwrap();
        assert_eq!(encode(&offer, 0).unwrap(), golden);
        assert_eq!(decode(&golden[8..]).unwrap(), offer);
    }

    #[test]
    fn oversized_frames_are_refused_before_they_are_read() {
        assert_eq!(decode_lengths([1, 0, 0, 0, 2, 0, 0, 0]), Ok((1, 2)));
        assert!(decode_lengths([0, 0, 0, 2, 0, 0, 0, 0]).is_err());
        assert!(decode_lengths([0, 0, 0, 0, 255, 255, 255, 255]).is_err());
        assert!(encode(&Message::Close, BODY_BYTES_MAX + 1).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(message) = decode(&bytes) {
                prop_assert_eq!(decode(&encode(&message, 0).unwrap()[8..]).unwrap(), message);
            }
        }

        #[test]
        fn bits_are_the_flags(flags in proptest::collection::vec(any::<bool>(), 0..40)) {
            let bits = Bits::of(&flags);
            for (index, flag) in flags.iter().enumerate() {
                prop_assert_eq!(bits.contains(index), *flag);
            }
            prop_assert!(!bits.contains(flags.len() + 8));
        }
    }
}
