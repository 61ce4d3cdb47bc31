//! Payment cards and bank accounts.

mod aba;
mod iban;
mod issuer;
mod pan;
mod statements;
mod swift_bic;
mod track;

pub(crate) use aba::bank_numbers;
pub use iban::Iban;
pub(crate) use issuer::luhn_sum;
pub use issuer::{Issuers, luhn};
pub use pan::Pan;
pub(crate) use statements::statements;
pub(crate) use swift_bic::SwiftBic;
pub use track::{Track1, Track2};

/// Returns the issuers, read from the rule of the card numbers.
pub(crate) fn issuers() -> Issuers {
    Issuers::new(&crate::detectors::rule::load::<pan::PanData>("financial/pan").data.issuers)
}
