
//! Everything that acts.

//! Everything that acts: clocks, transports, the wire, and the daemon.
pub mod clock;
pub mod resp;
pub mod transport;
pub mod wire;
