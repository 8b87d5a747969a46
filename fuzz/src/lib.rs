//! What the fuzz targets share; the models themselves live in `quorate_engine::testing`.

pub mod engine_input;
pub mod resp_parse;
pub mod resp_reply;
mod script;
pub mod wire_decode;
