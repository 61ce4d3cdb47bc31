//! Documents in, findings in, verdict out; the only maker of Cleared
