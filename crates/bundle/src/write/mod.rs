//! Writes a description of a machine for those who shall run it.

mod libvirt;
mod ovf;

pub use libvirt::libvirt;
pub use ovf::ovf;

/// A disk of an exported machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedDisk {
    /// Its id, such as `disk0`.
    pub id: String,
    /// The name of the file that holds it.
    pub file: String,
    /// The format of that file: `raw` or `qcow2`.
    pub format: &'static str,
    /// Virtual size in bytes.
    pub virtual_size: u64,
    /// Size of the file in bytes.
    pub file_size: u64,
}

/// Escapes text for the content and the attributes of XML. What XML cannot hold at all is a question mark.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' | '\t' => out.push(' '),
            char if char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}') => out.push('?'),
            char => out.push(char),
        }
    }
    out
}

/// Memory of a machine whose bundle did not tell: 2 GiB.
const MEMORY_DEFAULT: u64 = 2 << 30;

fn memory_mib(machine: &airlock_model::Machine) -> u64 {
    let bytes = if machine.memory_bytes == 0 { MEMORY_DEFAULT } else { machine.memory_bytes };
    bytes.div_ceil(1 << 20)
}
