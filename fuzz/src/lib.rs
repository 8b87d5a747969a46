//! What the fuzz targets share; the models themselves live in `quorate_engine::testing`.

pub mod resp_parse;
pub mod wire_decode;
