//! One transfer as an I/O-free state machine: wire format, sender, receiver, resume
