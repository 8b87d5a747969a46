//! Feeds from files: what they make of rows, of bad rows and of the recordings that come with the tests.
//!
//! The recordings are looked for in `QUORATE_DATA`, by default beside the workspace. Without them their tests are
//! skipped, loudly; where `CI` is set they must be there.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use quorate::feed::{Feed as _, FeedError, Format, Options, Pacer, Reader, Row, WriteText};

/// Reads `text` as the file `name` and writes each row as `time key=value …` and each error as it is.
fn read(name: &str, text: impl AsRef<[u8]>, options: &Options) -> Vec<String> {
    let input = std::io::Cursor::new(text.as_ref().to_vec());
    let reader = match Reader::from_read(name, Box::new(input), options) {
        Ok(reader) => reader,
        Err(error) => return vec![error.to_string()],
    };
    reader.map(|row| row.map_or_else(|error| error.to_string(), |row| shown(&row))).collect()
}

fn shown(row: &Row) -> String {
    let time = row.time_ns.map_or_else(|| "-".to_owned(), |time| time.to_string());
    let writes = row
        .writes()
        .iter()
        .map(|write| format!(" {}={}", String::from_utf8_lossy(&write.key), String::from_utf8_lossy(&write.value)));
    std::iter::once(time).chain(writes).collect()
}

fn mapped(key: &str, value: Option<&str>, time: Option<&str>) -> Options {
    let writes = vec![WriteText { key: key.to_owned(), value: value.map(str::to_owned) }];
    Options { writes, time: time.map(str::to_owned), ..Options::default() }
}

/// Returns a recording, or says loudly that there is none.
fn recording(name: &str) -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let path = std::env::var_os("QUORATE_DATA").map_or_else(beside, PathBuf::from).join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "the recording {} must be there in CI; set QUORATE_DATA", path.display());
    // The test harness swallows what is printed by tests that pass, but not this.
    let note =
        format!("\nSKIPPED: no recording at {}; set QUORATE_DATA to the folder of the recordings\n", path.display());
    std::io::stderr().write_all(note.as_bytes()).expect("standard error is open");
    None
}

#[test]
fn csv_rows_become_writes() {
    let text = "id,bid,ask,local_ns\n7,1.5,1.6,100\n8,\"1,7\",1.8,200\n";
    assert_eq!(
        read("a.csv", text, &mapped("tick:{id}", Some("{bid}/{ask}"), Some("local_ns"))),
        ["100 tick:7=1.5/1.6", "200 tick:8=1,7/1.8"]
    );
    assert_eq!(read("a.csv", text, &mapped("id", None, None))[1], "- 8=8,\"1,7\",1.8,200");
    assert_eq!(
        read("a.csv", text, &mapped("r:{@line}", Some("{@json}"), None))[0],
        "- r:2={\"ask\":\"1.6\",\"bid\":\"1.5\",\"id\":\"7\",\"local_ns\":\"100\"}"
    );
}

#[test]
fn several_keys_take_one_row_each() {
    let keys = ["tick:{id}".to_owned(), "px:X".to_owned()];
    let writes = WriteText::pair(&keys, &["{bid}".to_owned()]).expect("one value for both");
    let options = Options { writes, ..Options::default() };
    assert_eq!(read("a.csv", "id,bid\n7,1.5\n", &options), ["- tick:7=1.5 px:X=1.5"]);
    let error = WriteText::pair(&keys[..1], &["a".to_owned(), "b".to_owned()]).expect_err("a value too many");
    assert_eq!(error.to_string(), "2 values for 1 keys; give each --value its --key");
}

#[test]
fn a_bad_csv_row_says_where_and_what_was_expected_and_the_next_one_is_read() {
    let text = "id,bid,t_ms\n1,2\n,3,1\n2,3,soon\n3,4,1\n";
    assert_eq!(
        read("a.csv", text, &mapped("k:{id}", Some("{bid}"), Some("t_ms"))),
        [
            "a.csv:2: expected 3 fields as in the header, found 2",
            "a.csv:3: expected a value in `id`, which is part of the key; `{id?}` allows it to be empty",
            "a.csv:4: expected a time in `t_ms` as a number of milliseconds, found \"soon\"",
            "1000000 k:3=4",
        ]
    );
    assert_eq!(
        read("a.csv", "id,b\n,\n", &mapped("{id?}", None, None)),
        ["a.csv:2: expected a key, but \"{id?}\" makes an empty one of this row"]
    );
}

#[test]
fn an_unknown_column_names_the_nearest_one_and_all_of_them() {
    assert_eq!(
        read("a.csv", "update_id,bid\n1,2\n", &mapped("tick:{updte_id}", None, None)),
        ["a.csv: has no column `updte_id`; did you mean `update_id`?; its columns are update_id, bid"]
    );
    assert_eq!(
        read("a.csv", "update_id,bid\n1,2\n", &mapped("update_id", None, Some("time"))),
        ["a.csv: has no column `time`; its columns are update_id, bid"]
    );
    assert_eq!(
        read("a.csv", "id,bid\n1,2\n", &Options::default()),
        ["a.csv: is not a recording that is known here, so say what the key of a row is, like --key 'row:{id}'; its \
             columns are id, bid"]
    );
    assert_eq!(
        read("a.csv", "id,bid\n1,2\n", &mapped("a:{id", None, None)),
        ["a.csv: template \"a:{id\", character 3: `{` is not closed; a brace itself is written twice"]
    );
    assert_eq!(
        read("a.csv", "", &Options::default()),
        ["a.csv: is empty; expected a line with the names of the columns"]
    );
}

#[test]
fn an_unclosed_quote_is_bounded() {
    let text = format!("id,bid\n1,\"{}", "x\n".repeat(4 << 20));
    assert_eq!(
        read("a.csv", text, &mapped("id", None, None)),
        [
            "a.csv:2: expected the end of the row within 1048576 bytes; is a quote not closed?; the rest of the file cannot be read"
        ]
    );
}

#[test]
fn ndjson_rows_become_writes() {
    let text = "1723161255088169167 {\"stream\":\"s\",\"data\":{\"u\":51,\"b\":\"61800.20\",\"l\":[[1.50,2]]}}\n\n\
                1723161255088169168 {\"stream\":\"t\",\"data\":{\"u\":52,\"b\":null}}\r\n";
    assert_eq!(
        read("a.ndjson", text, &mapped("{stream}:{data.u}", Some("{data.b?},{data.l.0.0?}"), None)),
        ["1723161255088169167 s:51=61800.20,1.50", "1723161255088169168 t:52=,",]
    );
    assert_eq!(read("a.ndjson", "{\"a\":\"x\\ny\"}", &mapped("{a}", None, None)), ["- x\ny={\"a\":\"x\\ny\"}"]);
}

#[test]
fn a_bad_ndjson_line_says_where_and_the_next_one_is_read() {
    let mut text = b"{\"id\":1}\n{\"id\":}\n[1]\n{\"x\":2}\n{\"id\":\"\xff\"}\n".to_vec();
    text.extend_from_slice(b"{\"id\":6}\n");
    assert_eq!(
        read("a.ndjson", &text, &mapped("id", Some("v:"), None)),
        [
            "- 1=v:",
            "a.ndjson:2: expected a JSON object: expected value at column 7",
            "a.ndjson:3: expected a JSON object: invalid type: sequence, expected a map at column 0",
            "a.ndjson:4: expected a field `id`, which this row does not have; `{id?}` stands for nothing then",
            "a.ndjson:5: expected a JSON object: not UTF-8 text from byte 8 on",
            "- 6=v:",
        ]
    );
}

#[test]
fn hostile_json_is_a_value() {
    for text in
        ["{".repeat(100_000), format!("{{\"a\":{}", "[".repeat(500_000)), format!("{{\"a\":{}", "9".repeat(900_000))]
    {
        let rows = read("a.ndjson", &text, &mapped("a", None, None));
        assert!(rows[0].starts_with("a.ndjson:1: expected a JSON object"), "{}", &rows[0][..200.min(rows[0].len())]);
    }
    let long = format!("{{\"a\":\"{}\"}}\n{{\"a\":1}}\n", "x".repeat(2 << 20));
    let rows = read("a.ndjson", long, &mapped("a", None, None));
    assert_eq!(rows.len(), 1);
    assert!(rows[0].contains("within 1048576 bytes"), "{}", rows[0]);
}

/// A message of type D (order deleted) with this locate number, with or without its length.
fn delete(locate: u16, has_length: bool) -> Vec<u8> {
    let length: u16 = if has_length { 19 } else { 0 };
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.push(b'D');
    bytes.extend_from_slice(&locate.to_be_bytes());
    bytes.extend_from_slice(&[0, 9, 0, 0, 0, 0, 1, 0]);
    bytes.extend_from_slice(&77_u64.to_be_bytes());
    bytes
}

#[test]
fn itch_messages_become_writes_with_and_without_a_length() {
    let options = mapped("o:{order}", Some("{type},{tracking},{side?}"), None);
    for has_length in [true, false] {
        assert_eq!(read("a.itch", delete(3, has_length), &options), ["256 o:77=D,9,"]);
    }
    assert_eq!(
        read("a.itch", delete(3, true), &Options::default()),
        ["256 itch:3:D=4400030009000000000100000000000000004d"]
    );
    assert_eq!(
        read("a.itch", delete(3, true), &mapped("{@line}", Some("{@json}"), None)),
        ["256 1={\"locate\":\"3\",\"order\":\"77\",\"time\":\"256\",\"tracking\":\"9\",\"type\":\"D\"}"]
    );
    assert_eq!(
        read("a.itch", delete(3, true), &mapped("{stock}", None, None)),
        [
            "a.itch: message 1 at byte 0: expected a field `stock`, which this row does not have; `{stock?}` stands for nothing then"
        ]
    );
}

#[test]
fn a_bad_itch_message_says_where() {
    let options = mapped("o:{order}", Some("x:"), None);
    let mut wrong_length = delete(1, true);
    wrong_length.insert(2 + 19, 0);
    wrong_length[1] = 20;
    wrong_length.extend(delete(2, true));
    assert_eq!(
        read("a.itch", wrong_length, &options),
        ["a.itch: message 1 at byte 0: expected 19 bytes for a message of type D, found 20", "256 o:77=x:",]
    );
    let mut unknown = delete(1, false);
    unknown[2] = b'~';
    assert_eq!(
        read("a.itch", unknown, &options),
        [
            "a.itch: message 1 at byte 0: expected a message type of ITCH 5.0, found byte 0x7e; the rest of the file cannot be read"
        ]
    );
    let mut cut = delete(1, false);
    cut.extend_from_slice(&delete(2, false)[..10]);
    assert_eq!(
        read("a.itch", &cut, &options),
        [
            "256 o:77=x:",
            "a.itch: message 2 at byte 21: expected 19 bytes for a message of type D, found 8; the rest of the file cannot be read",
        ]
    );
    assert_eq!(
        read("a.itch", [0], &options),
        [
            "a.itch: message 1 at byte 0: expected the two bytes of a length, found 1; the rest of the file cannot be read"
        ]
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let open =
        |path: &str| Reader::open(&PathBuf::from(path), &Options::default()).expect_err("unreadable").to_string();
    assert_eq!(
        open("/nonexistent/a.csv"),
        "/nonexistent/a.csv: cannot be read: No such file or directory (os error 2)"
    );
    assert!(open("/").starts_with("/: cannot be read: Is a directory"));
    assert_eq!(
        read("a.csv", b"\x1f\x8b\x08\0", &Options::default()),
        ["a.csv: is compressed; unpack it first: gunzip -k a.csv"]
    );
}

#[test]
fn the_recording_of_best_prices_is_recognised() {
    let Some(path) = recording("crypto_ticks_binance/spot_btcusdt_bookticker.csv") else { return };
    let mut reader = Reader::open(&path, &Options::default()).expect("readable");
    assert_eq!(
        reader.mapping().to_string(),
        "tick:{update_id} = {bid},{bid_qty},{ask},{ask_qty}; px:BTCUSDT = {bid},{bid_qty},{ask},{ask_qty}; time from local_ns"
    );
    let (mut row, mut rows, mut pacer) = (Row::default(), 0, Pacer::new("10x".parse().expect("a speed")));
    let mut due = Duration::ZERO;
    while reader.read(&mut row).expect("every row is good") {
        if rows == 0 {
            let value = "61837.63000000,3.78826000,61837.64000000,1.54698000";
            assert_eq!(shown(&row), format!("1723161254087891268 tick:50093239212={value} px:BTCUSDT={value}"));
        }
        let next = pacer.due(row.time_ns);
        assert!(next >= due, "row {rows} goes back");
        (due, rows) = (next, rows + 1);
    }
    assert_eq!(rows, 28_040);
    assert_eq!(due.as_secs(), 34, "345 s at ten times the speed");
}

#[test]
fn the_other_recordings_are_read_to_the_end() {
    for (name, options, count) in [
        ("crypto_ticks_binance/spot_btcusdt_trades.csv", Options::default(), 9_757),
        ("crypto_ticks_binance/usdm_btcusdt_raw_first5000.ndjson", mapped("{stream?}:{@line}", None, None), 5_000),
        (
            "machine_temperature_nab/machine_temperature_system_failure.csv",
            mapped("t:{timestamp}", Some("value"), Some("timestamp")),
            22_695,
        ),
        (
            "football_wyscout/epl_final_day_2018_05_13_events.csv",
            mapped("e:{event_id}", None, Some("event_sec")),
            16_426,
        ),
        ("telecom_copenhagen/sms.csv", mapped("sms:{from}:{to}", None, Some("timestamp:s")), 24_333),
    ] {
        let Some(path) = recording(name) else { continue };
        let rows: Result<Vec<Row>, FeedError> = Reader::open(&path, &options).expect(name).collect();
        assert_eq!(rows.unwrap_or_else(|error| panic!("{error}")).len(), count, "{name}");
    }
}

#[test]
fn the_hour_that_repeats_is_replayed_as_an_hour() {
    let Some(path) = recording("machine_temperature_nab/machine_temperature_system_failure.csv") else { return };
    let mut pacer = Pacer::new("1x".parse().expect("a speed"));
    let rows = Reader::open(&path, &mapped("{timestamp}", None, Some("timestamp"))).expect("readable");
    let dues: Vec<Duration> = rows.map(|row| pacer.due(row.expect("every row is good").time_ns)).collect();
    let five_minutes = Duration::from_secs(300);
    let steps: Vec<Duration> =
        dues.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step != five_minutes).collect();
    assert_eq!(steps, [Duration::ZERO], "one step back in 22,695 rows");
}

#[test]
fn the_counts_of_the_itch_file_are_those_it_was_published_with() {
    let Some(path) = recording("itch50_format_fixture/ex20101224.TEST_ITCH_50") else { return };
    let mut reader = Reader::open(&path, &mapped("{type}", Some("{stock?}"), None)).expect("readable");
    assert_eq!(reader.format(), Format::Itch);
    let (mut counts, mut row, mut stocks) = (BTreeMap::new(), Row::default(), BTreeMap::new());
    let (mut times, mut number) = (Vec::new(), 0);
    while reader.read(&mut row).expect("every message is good") {
        *counts.entry(String::from_utf8_lossy(&row.writes()[0].key).into_owned()).or_insert(0) += 1;
        *stocks.entry(String::from_utf8_lossy(&row.writes()[0].value).into_owned()).or_insert(0) += 1;
        number = row.number;
        times.push(row.time_ns.expect("every message has a time"));
    }
    let expected = [
        ("A", 4997),
        ("D", 1745),
        ("E", 198),
        ("F", 3),
        ("H", 3),
        ("P", 5000),
        ("R", 3),
        ("S", 6),
        ("U", 12),
        ("X", 45),
    ];
    assert_eq!(counts, expected.map(|(kind, count)| (kind.to_owned(), count)).into());
    assert_eq!(number, 12_012);
    assert_eq!(stocks.keys().map(String::as_str).collect::<Vec<_>>(), ["", "ALC", "BOB", "CHAR"]);
    assert_eq!(stocks[""], 6, "only the six system events have no stock");
    assert!(times.iter().all(|time| (0..86_400_000_000_000).contains(time)), "within one day");
}
