//! Keys, tokens and passwords.

mod private_key;
mod token;

pub use private_key::PrivateKey;
pub(crate) use token::tokens;
