//! Health data: identifiers of patients and providers, and documents about them.

mod codes;
mod documents;
mod identifiers;

pub(crate) use codes::codes;
pub(crate) use documents::documents;
pub(crate) use identifiers::identifiers;
