//! The end-to-end harness: starts real processes, loads them over real sockets, checks every reply, and compares.
//!
//! A figure in microseconds says little: machines differ, and this one may be busy. What is stable is a ratio between two
//! systems measured in turn in one run, and above all the ratio to the *floor*: the same processes and the same sockets
//! that only forward bytes, which is the price of the kernel. So every verb can print the floor beside its figures.
//!
//! [`load`] generates load through a [`load::Driver`], one per protocol, on a [`clock`] that tests simulate;
//! [`histogram`] keeps latencies. [`process`] starts what is measured, [`connection`] talks to it, and [`system`] lists it:
//! [`floor`], [`quorum`] and [`peers`]. [`measure`], [`sweep`], [`report`] and [`plot`] make figures of it, [`machine`] says
//! where they come from. [`core_commits`] compares clusters of two sizes. [`faults`] measures nothing: it has things go wrong, and judges what clients were told.

pub mod cli;
pub mod clock;
pub mod connection;
pub mod core_commits;
pub mod embed;
pub mod faults;
pub mod floor;
pub mod histogram;
pub mod load;
pub mod machine;
pub mod measure;
pub mod native;
pub mod peers;
pub mod plot;
pub mod process;
pub mod quorum;
pub mod report;
pub mod resp;
pub mod sweep;
pub mod system;
