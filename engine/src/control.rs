//! The consistent core: who holds and leads each group, decided once for all nodes.
//!
//! Replicas agree on entries by counting acknowledgements, and on who may count by asking here. What the core keeps for a
//! group is a [`record::Record`]; what it tells the nodes is [`record::News`].

pub mod core;
pub mod detector;
pub mod journal;
pub mod keyspace;
pub mod operation;
pub mod planner;
pub mod rates;
pub mod record;
pub mod roster;
pub mod state;
