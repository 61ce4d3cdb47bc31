//! The cloud site: chamber, vault, catalog
