//! Signed records of a transfer and their offline verification
