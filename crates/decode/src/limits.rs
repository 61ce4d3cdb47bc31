//! How much of a file is opened before it counts as `unscannable: limit`.

/// The budgets of one outer file. They are counted in bytes and members and never in time, so
/// that the same file meets the same limit on every machine (invariant I5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Whether what a layer holds is opened. If not, it counts as `unscannable: unsupported`, as a file does
    /// whose content a policy does not open.
    pub containers: bool,
    /// Layers within each other.
    pub depth: usize,
    /// Bytes of all layers together.
    pub bytes: u64,
    /// Layers.
    pub members: u64,
    /// Bytes of layers that are kept in memory at one time, because their format needs them in
    /// any order.
    pub spool_bytes: usize,
    /// Memory of all decoders together that their formats may ask for, in KiB.
    pub memory_kib: u32,
}

impl Limits {
    /// Bytes that any file may unpack to.
    pub const BYTES_MIN: u64 = 64 << 20;
    /// Bytes that no file may unpack to.
    pub const BYTES_MAX: u64 = 16 << 30;
    /// How many times its own size a file may unpack to, counted over all layers. Logs shrink to
    /// a thirtieth by xz, empty disk images to less than a thousandth, which is left unopened.
    pub const RATIO: u64 = 250;

    /// Returns the limits of a file of `bytes`.
    pub fn for_file(bytes: u64) -> Self {
        Self {
            containers: true,
            depth: 16,
            bytes: bytes.saturating_mul(Self::RATIO).clamp(Self::BYTES_MIN, Self::BYTES_MAX),
            members: 100_000,
            spool_bytes: 16 << 20,
            memory_kib: 72 << 10,
        }
    }
}
