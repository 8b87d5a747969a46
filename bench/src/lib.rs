//! Shared set-up of the microbenchmarks in `benches/`.
