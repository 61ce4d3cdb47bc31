//! Checkers and the station that runs them over a block source
