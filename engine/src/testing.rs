//! Models and stages for tests, fuzzing and simulation. Nothing here changes what is shipped.

pub mod cluster;
pub mod history;
pub mod log_model;
pub mod model;
mod parcel;
pub mod sim;
pub mod store;
