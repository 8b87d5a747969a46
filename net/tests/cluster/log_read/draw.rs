//! Commands of all kinds, drawn from a seed.

/// Draws commands of all kinds, over few enough keys that they meet each other.
pub(super) struct Draw(pub(super) u64);

impl Draw {
    /// Returns a number below `end` (splitmix64).
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) % end
    }

    fn one_of(&mut self, words: &[&'static str]) -> &'static str {
        words[usize::try_from(self.below(words.len() as u64)).expect("below their count")]
    }

    pub(super) fn request(&mut self) -> String {
        // One in ten meets a value of another type.
        let kind = self.one_of(&["s", "n", "f", "h"]);
        let other = if self.below(10) == 0 { self.one_of(&["s", "h"]) } else { kind };
        let key = format!("{other}:{}", self.below(400));
        let (value, by) = (format!("v{}", self.below(1_000)), self.below(41) as i64 - 20);
        let (field, quarter) = (format!("f{}", self.below(12)), by as f64 / 4.0);
        // Some end while the test runs, others long after it.
        let time_ms = if self.below(3) == 0 { 1 + self.below(300) } else { 10_000_000 + self.below(1_000_000) };
        let condition = self.one_of(&["", " NX", " XX", " GT", " LT"]);
        match (kind, self.below(12)) {
            (_, 0) => format!("PEXPIRE {key} {time_ms}{condition}"),
            (_, 1) => format!("PERSIST {key}"),
            (_, 2) => format!("{} {key} {key}2 other", self.one_of(&["DEL", "UNLINK"])),
            (_, 3) if self.below(8) == 0 => format!("PEXPIREAT {key} {}", 1 + self.below(9)),
            ("s", 3) => format!("SET {key} {value} PX {time_ms}"),
            ("s", 4) => format!("SET {key} {value} {}", self.one_of(&["NX", "XX", "GET", "KEEPTTL"])),
            ("s", 5..=6) => format!("MSET {{{key}}}1 {value} {{{key}}}2 {by}"),
            ("s", 7) if self.below(4) == 0 => format!("SET {key} {value}"),
            ("s", 7) => format!("APPEND {key} {value}"),
            ("s", 8) => format!("SETRANGE {key} {} {value}", self.below(20)),
            ("s", 9) => format!("GETDEL {key}"),
            ("s", 10) => format!("GETEX {key} PX {time_ms}"),
            ("s", _) => format!("GETSET {key} {value}"),
            ("n", 3..=5) => format!("DECRBY {key} {by}"),
            ("n", 6) => format!("SETNX {key} {by}"),
            ("n", 8) => format!("{} {key}", self.one_of(&["INCR", "DECR"])),
            ("n", 9) => format!("SETEX {key} 10000 {by}"),
            ("n", 7) => format!("GETEX {key} PERSIST"),
            ("n", _) => format!("INCRBY {key} {by}"),
            ("f", _) => format!("INCRBYFLOAT {key} {quarter}"),
            ("h", 3) => format!("HMSET {key} {field} {value} same {by}"),
            ("h", 4..=5) => format!("HSET {key} {field} {value} same {by}"),
            (_, 6) => format!("HSETNX {key} {field} {value}"),
            (_, 7..=8) => format!("HDEL {key} {field} f1 same"),
            (_, 9) => format!("HINCRBYFLOAT {key} float {quarter}"),
            (_, _) => format!("HINCRBY {key} number {by}"),
        }
    }
}
