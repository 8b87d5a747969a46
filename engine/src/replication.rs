//! Replication of one group in steady state: what a replica does with an append, what a leader does with an answer.
//!
//! The rules are those of the replication protocol, sections 1.4 and 1.5. [`quorum`] decides what is committed and how
//! long a lease lasts, `progress` what a peer is sent next, `founding` whether a leader may begin
//! at all, and [`comparison`] whose state is wrong if two of them differ.

pub mod comparison;
pub(crate) mod founding;
pub(crate) mod progress;
pub mod quorum;
