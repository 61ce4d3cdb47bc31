//! Keys, tokens and passwords.

mod private_key;

pub use private_key::PrivateKey;
