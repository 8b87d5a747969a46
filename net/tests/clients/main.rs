//! Clients that others wrote, against three real nodes: what they send is taken, and what they get is what Redis would say.
//!
//! | file | what it shows |
//! |---|---|
//! | `redis_cli` | redis-cli runs commands and builds its help from what we say about our own |
//! | `redis_benchmark` | redis-benchmark with `-e` meets no error reply, with and without pipelining |
//! | `redis_py` | the checks of `.ci/clients/redis_py.py`: single and cluster client, RESP2 and RESP3 |
//! | `redis_rs`, `fred_rs` | the Rust clients, single and cluster, RESP2 and RESP3, each answer checked |
//! | `handshakes` | what go-redis and Lettuce send when they connect, played over a socket |
//! | `same_as_redis` | a table of commands sent to redis-server and to us, compared byte by byte |
//! | `random_commands` | long random sequences of commands, compared the same way |
//!
//! The Rust clients' checks run against redis-server as well, so that what they expect is what Redis does.
//!
//! Every test has nodes of its own, on free ports of this machine, gone when it ends. What needs a program that is not
//! installed is skipped with a line that says so; under `CI` that is a failure.

mod fred_rs;
mod handshakes;
mod random_commands;
mod raw;
mod redis_benchmark;
mod redis_cli;
mod redis_py;
mod redis_rs;
mod same_as_redis;
mod servers;
mod tools;
