//! The source site: reads, inspects, sends what is cleared
