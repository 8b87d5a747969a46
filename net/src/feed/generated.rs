//! Market ticks from a seed: the feed of the demo when there is no file.
//!
//! The rows have the shape of the recording that the demo also plays: each stores a best bid and ask under its own
//! number and as the latest price of its symbol. Prices walk at random in whole ticks, a few symbols get most of the
//! rows, and rows come in bursts, as they do from an exchange. The same options give the same rows on every machine:
//! there is no floating point and no clock.
//!
//! # Time and units
//! Nanoseconds from zero. Prices and quantities are kept in hundredths and thousandths and written as decimals.

use super::{Feed, FeedError, Row};

/// What is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneratedOptions {
    /// The seed; print it, so that a run can be repeated.
    pub seed: u64,
    /// How many rows.
    pub rows: u64,
    /// How many symbols; 0 and more than there are mean all of them.
    pub symbols: usize,
    /// How many rows a second on average, by their times; 0 means one.
    pub rows_per_second: u64,
}

impl Default for GeneratedOptions {
    fn default() -> Self {
        Self { seed: 1, rows: 20_000, symbols: SYMBOLS.len(), rows_per_second: 2_000 }
    }
}

/// A feed of generated ticks.
///
/// ```
/// use quorate::feed::generated::{Generated, GeneratedOptions};
/// use quorate::feed::{Feed, Row};
///
/// let mut feed = Generated::new(GeneratedOptions { seed: 7, rows: 1, ..GeneratedOptions::default() });
/// let mut row = Row::default();
/// assert!(feed.read(&mut row)?);
/// assert!(row.writes()[0].key.starts_with(b"tick:") && row.writes()[1].key.starts_with(b"px:"));
/// assert!(!feed.read(&mut row)?);
/// # Ok::<(), quorate::feed::FeedError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Generated {
    options: GeneratedOptions,
    random: Random,
    books: Vec<Book>,
    made: u64,
    time_ns: i64,
}

/// The best prices of one symbol.
#[derive(Clone, Copy, Debug)]
struct Book {
    symbol: &'static str,
    /// In hundredths; at least [`BID_MIN`].
    bid: u64,
    /// In hundredths; 1 to 3.
    spread: u64,
    /// In thousandths.
    bid_quantity: u64,
    /// In thousandths.
    ask_quantity: u64,
}

impl Generated {
    /// Starts at the first row.
    #[must_use]
    pub fn new(options: GeneratedOptions) -> Self {
        let symbols = if options.symbols == 0 { SYMBOLS.len() } else { options.symbols.min(SYMBOLS.len()) };
        let book = |(symbol, bid): &(&'static str, u64)| Book {
            symbol,
            bid: *bid,
            spread: 1,
            bid_quantity: 1_000,
            ask_quantity: 1_000,
        };
        Self {
            options,
            random: Random(options.seed),
            books: SYMBOLS[..symbols].iter().map(book).collect(),
            made: 0,
            time_ns: 0,
        }
    }

    /// Returns what is generated.
    #[must_use]
    pub fn options(&self) -> GeneratedOptions {
        self.options
    }

    /// Lets some time pass: nothing in a burst, else up to four times the mean, so that the mean comes out right.
    fn advance_time(&mut self) {
        let mean_ns = NANOS / self.options.rows_per_second.clamp(1, NANOS);
        if self.random.below(2) == 0 {
            let gap = self.random.below(4 * mean_ns + 1);
            let gap = i64::try_from(gap).expect("at most four seconds");
            self.time_ns = self.time_ns.saturating_add(gap);
        }
    }

    /// Moves one symbol and returns it. The smaller of two draws prefers the symbols at the front.
    fn advance_book(&mut self) -> Book {
        let symbols = self.books.len() as u64;
        let drawn = self.random.below(symbols).min(self.random.below(symbols));
        let index = usize::try_from(drawn).expect("below the number of symbols");
        let book = &mut self.books[index];
        let step = self.random.below(5);
        book.bid = (book.bid + step).saturating_sub(2).max(BID_MIN);
        book.spread = 1 + self.random.below(3);
        book.bid_quantity = 1 + self.random.below(10_000);
        book.ask_quantity = 1 + self.random.below(10_000);
        *book
    }
}

impl Feed for Generated {
    fn read(&mut self, row: &mut Row) -> Result<bool, FeedError> {
        row.clear();
        if self.made == self.options.rows {
            return Ok(false);
        }
        if self.made > 0 {
            self.advance_time();
        }
        self.made += 1;
        let book = self.advance_book();
        row.number = self.made;
        row.time_ns = Some(self.time_ns);
        for prefix in ["tick:", "px:"] {
            let write = row.push();
            write.key.extend_from_slice(prefix.as_bytes());
            match prefix {
                "tick:" => push_number(&mut write.key, self.made, 1),
                _ => write.key.extend_from_slice(book.symbol.as_bytes()),
            }
            book.write(&mut write.value);
        }
        Ok(true)
    }
}

impl Book {
    /// Writes `bid,bid_qty,ask,ask_qty` without allocating.
    fn write(&self, out: &mut Vec<u8>) {
        push_decimal(out, self.bid, 2);
        out.push(b',');
        push_decimal(out, self.bid_quantity, 3);
        out.push(b',');
        push_decimal(out, self.bid + self.spread, 2);
        out.push(b',');
        push_decimal(out, self.ask_quantity, 3);
    }
}

fn push_decimal(out: &mut Vec<u8>, number: u64, decimals: usize) {
    push_number(out, number, decimals + 1);
    out.insert(out.len() - decimals, b'.');
}

/// Writes a number with at least so many digits.
fn push_number(out: &mut Vec<u8>, mut number: u64, digits_min: usize) {
    let start = out.len();
    while number > 0 || out.len() - start < digits_min {
        out.push(b'0' + u8::try_from(number % 10).expect("a digit"));
        number /= 10;
    }
    out[start..].reverse();
}

/// A small generator, good enough for a story and the same everywhere.
///
/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014 (SplitMix64).
#[derive(Clone, Copy, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `bound`, which is not 0.
    fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the upper half of a product is below its factor")
    }
}

/// The symbols and their first bid, in hundredths.
const SYMBOLS: [(&str, u64); 8] = [
    ("BTCUSDT", 6_183_763),
    ("ETHUSDT", 268_512),
    ("SOLUSDT", 16_240),
    ("BNBUSDT", 52_055),
    ("LTCUSDT", 6_155),
    ("LINKUSDT", 1_052),
    ("XRPUSDT", 62),
    ("ADAUSDT", 35),
];

/// No price falls below ten ticks.
const BID_MIN: u64 = 10;

const NANOS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(options: GeneratedOptions) -> Vec<(i64, String)> {
        let mut feed = Generated::new(options);
        let mut row = Row::default();
        let mut rows = Vec::new();
        while feed.read(&mut row).expect("generated") {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
            let writes: Vec<String> =
                row.writes().iter().map(|write| format!("{}={}", text(&write.key), text(&write.value))).collect();
            rows.push((row.time_ns.expect("generated"), writes.join(" ")));
        }
        rows
    }

    #[test]
    fn a_seed_means_the_same_rows_for_ever() {
        let options = GeneratedOptions { seed: 1, rows: 10_000, ..GeneratedOptions::default() };
        let made = rows(options);
        assert_ne!(made, rows(GeneratedOptions { seed: 2, ..options }));
        let first = "tick:1=61.57,4.443,61.59,7.629 px:LTCUSDT=61.57,4.443,61.59,7.629";
        assert_eq!(made[0], (0, first.to_owned()));
        let last = "tick:10000=2686.15,3.876,2686.17,4.209 px:ETHUSDT=2686.15,3.876,2686.17,4.209";
        assert_eq!(
            made[9_999],
            (5_025_846_052, last.to_owned()),
            "changing the rows of a seed breaks what was recorded with it"
        );
    }

    #[test]
    fn the_rate_and_the_shape_are_as_asked() {
        let options = GeneratedOptions { rows: 20_000, ..GeneratedOptions::default() };
        let rows = rows(options);
        let seconds = rows.last().expect("20,000 rows").0 / 1_000_000_000;
        assert!((9..=11).contains(&seconds), "{seconds} s at 2,000 rows/s");
        assert!(rows.is_sorted_by_key(|(time, _)| *time));
        let of = |symbol: &str| rows.iter().filter(|(_, text)| text.contains(symbol)).count();
        assert!(of("BTCUSDT") > 3 * of("ADAUSDT") && of("ADAUSDT") > 0);
    }

    #[test]
    fn odd_options_are_bounded() {
        let options = GeneratedOptions { seed: 0, rows: 100, symbols: usize::MAX, rows_per_second: u64::MAX };
        assert_eq!(rows(options).len(), 100);
        assert_eq!(rows(GeneratedOptions { symbols: 1, rows_per_second: 0, ..options }).len(), 100);
    }
}
