//! Everything that acts.
