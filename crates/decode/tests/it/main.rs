//! What is opened, of containers that the real tools make.

mod archives;
mod hostile;
mod record;
