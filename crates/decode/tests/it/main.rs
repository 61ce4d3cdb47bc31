//! What is opened, of containers that the real tools make.

mod archives;
mod documents;
mod hostile;
mod record;
