//! Builds guests and images for tests from code and distribution packages
