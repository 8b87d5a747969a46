//! Clusters as users run them: `quorate start` with a configuration file, one process a node, real sockets, real signals.
//!
//! Every story has nodes, ports and a folder of its own, and what it started is killed when it is dropped. Nothing is
//! timed: whoever waits, waits for something to be seen and says what it was if it never comes. Faults come under load,
//! and at the end of a story the replicas are compared. Most clusters have one partition, so that node 1 leads
//! everything and nodes 2 and 3 follow, and suspect nobody for a long time, so that this stays so on a busy machine.
//!
//! Loads are bounded: by a number of writes, and by the deadline of whoever waits for them.

mod admin;
mod channels;
mod clocks;
mod consistent_core;
mod daemons;
mod divergence;
mod endings;
mod events;
mod five_nodes;
mod hostile_bytes;
mod large_replies;
mod limits;
mod load;
mod log_read;
mod lost_door;
mod lost_follower;
mod lost_memory;
mod lost_quorum;
mod many_cpus;
mod membership;
mod meta;
mod promises;
mod resp;
mod restored_core;
mod starting;
mod takeover;
mod unix_sockets;
