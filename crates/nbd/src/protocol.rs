//! Numbers of the protocol, by the section of `doc/proto.md` that has them.

use std::time::Duration;

/// "NBDMAGIC" ("Newstyle negotiation").
pub(crate) const MAGIC: u64 = 0x4e42_444d_4147_4943;
/// "IHAVEOPT".
pub(crate) const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
/// Begins the reply to an option ("Fixed newstyle negotiation").
pub(crate) const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// Begins a request ("Request message").
pub(crate) const REQUEST_MAGIC: u32 = 0x2560_9513;
/// Begins a simple reply ("Simple reply message").
pub(crate) const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// Begins a chunk of a structured reply ("Structured reply chunk message").
pub(crate) const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;

/// Handshake flags ("Handshake flags").
pub(crate) mod handshake {
    pub(crate) const FIXED_NEWSTYLE: u16 = 1;
    pub(crate) const NO_ZEROES: u16 = 2;
}

/// Options ("Option types").
pub(crate) mod option {
    pub(crate) const EXPORT_NAME: u32 = 1;
    pub(crate) const ABORT: u32 = 2;
    pub(crate) const LIST: u32 = 3;
    pub(crate) const INFO: u32 = 6;
    pub(crate) const GO: u32 = 7;
    pub(crate) const STRUCTURED_REPLY: u32 = 8;
    pub(crate) const LIST_META_CONTEXT: u32 = 9;
    pub(crate) const SET_META_CONTEXT: u32 = 10;
}

/// Types of option replies ("Option reply types").
pub(crate) mod reply {
    pub(crate) const ACK: u32 = 1;
    pub(crate) const SERVER: u32 = 2;
    pub(crate) const INFO: u32 = 3;
    pub(crate) const META_CONTEXT: u32 = 4;
    /// This bit says that the option was refused.
    pub(crate) const ERROR: u32 = 1 << 31;
    pub(crate) const UNSUPPORTED: u32 = ERROR | 1;
    pub(crate) const POLICY: u32 = ERROR | 2;
    pub(crate) const INVALID: u32 = ERROR | 3;
    pub(crate) const TLS_REQUIRED: u32 = ERROR | 5;
    pub(crate) const UNKNOWN: u32 = ERROR | 6;
}

/// Kinds of information on an export (`NBD_OPT_GO`).
pub(crate) mod info {
    pub(crate) const EXPORT: u16 = 0;
    pub(crate) const BLOCK_SIZE: u16 = 3;
}

/// What an export can do ("Transmission flags").
pub(crate) mod transmission {
    pub(crate) const HAS_FLAGS: u16 = 1;
    pub(crate) const READ_ONLY: u16 = 1 << 1;
    pub(crate) const CAN_MULTI_CONN: u16 = 1 << 8;
}

/// Types of requests ("Request types").
pub(crate) mod command {
    pub(crate) const READ: u16 = 0;
    pub(crate) const WRITE: u16 = 1;
    pub(crate) const DISCONNECT: u16 = 2;
    pub(crate) const TRIM: u16 = 4;
    pub(crate) const WRITE_ZEROES: u16 = 6;
    pub(crate) const BLOCK_STATUS: u16 = 7;
    /// A flag of a block status: one extent is enough.
    pub(crate) const REQ_ONE: u16 = 1 << 3;
}

/// Types and flags of the chunks of a structured reply ("Structured reply types").
pub(crate) mod chunk {
    /// The flag of the last one.
    pub(crate) const DONE: u16 = 1;
    pub(crate) const NONE: u16 = 0;
    pub(crate) const OFFSET_DATA: u16 = 1;
    pub(crate) const OFFSET_HOLE: u16 = 2;
    pub(crate) const BLOCK_STATUS: u16 = 5;
    /// This bit says that the request failed.
    pub(crate) const ERROR: u16 = 1 << 15;
    pub(crate) const PLAIN_ERROR: u16 = ERROR | 1;
}

/// Errors of requests ("Error values").
pub(crate) mod error {
    pub(crate) const PERMISSION: u32 = 1;
    pub(crate) const IO: u32 = 5;
    pub(crate) const INVALID: u32 = 22;
    pub(crate) const NOT_SUPPORTED: u32 = 95;
}

/// What the flags of an extent say ("base:allocation metadata context").
pub(crate) const CONTEXT: &str = "base:allocation";
pub(crate) const EXTENT_HOLE: u32 = 1;
pub(crate) const EXTENT_ZERO: u32 = 2;

/// Most bytes of a read or write ("Terminating the transmission phase" and "Size constraints": 32 MiB is what
/// all implementations take).
pub(crate) const PAYLOAD_BYTES_MAX: u32 = 32 << 20;
/// Most bytes of an option, of a reply to one, and of a name ("Strings": 4096).
pub(crate) const OPTION_BYTES_MAX: u32 = 64 << 10;
pub(crate) const NAME_BYTES_MAX: usize = 4096;
/// Most options, and most replies to one.
pub(crate) const OPTIONS_MAX: usize = 256;
/// Most extents of one block status.
pub(crate) const EXTENTS_MAX: usize = 64 << 10;

/// How long the other side may take for one step of the negotiation, and for the reply to a request.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
pub(crate) const REPLY_TIMEOUT: Duration = Duration::from_mins(1);
