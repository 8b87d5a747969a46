//! Hints for clients that spread commands over nodes, by the names that `COMMAND` publishes.

/// The reply depends on more than the data.
pub(super) const NONDETERMINISTIC: &str = "nondeterministic_output";
/// The reply is a collection in any order.
pub(super) const NONDETERMINISTIC_ORDER: &str = "nondeterministic_output_order";
/// To be sent to every node.
pub(super) const ALL_NODES: &str = "request_policy:all_nodes";
/// To be sent to every node that serves slots.
pub(super) const ALL_SHARDS: &str = "request_policy:all_shards";
/// To be split by key.
pub(super) const MULTI_SHARD: &str = "request_policy:multi_shard";
/// To be sent in a way of its own.
pub(super) const SPECIAL_REQUEST: &str = "request_policy:special";
/// Succeeds if all parts do.
pub(super) const ALL_SUCCEEDED: &str = "response_policy:all_succeeded";
/// The parts' numbers are added.
pub(super) const AGG_SUM: &str = "response_policy:agg_sum";
/// The least of the parts' numbers counts.
pub(super) const AGG_MIN: &str = "response_policy:agg_min";
/// The parts' replies are joined in a way of their own.
pub(super) const SPECIAL_RESPONSE: &str = "response_policy:special";
