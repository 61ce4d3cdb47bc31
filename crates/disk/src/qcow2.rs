//! QEMU copy-on-write images, version 2 and 3 (QEMU docs/interop/qcow2.txt).

mod decompress;
mod header;
mod reader;
mod writer;

pub(crate) use header::{Header, MAGIC};
pub(crate) use reader::{Caches, Qcow2};
pub use writer::Writer;
