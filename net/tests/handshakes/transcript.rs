//! Reads the transcripts in this folder: what a client sends when it connects, and what it must get.
//!
//! They can be played against a session in this process, or against a server over a socket: one [`Exchange`] after the other,
//! reading as many replies as it has requests.

use std::path::Path;

/// One connection, from its first byte.
#[derive(Debug)]
pub(crate) struct Transcript {
    pub(crate) name: String,
    /// The password the server must have.
    pub(crate) password: Option<String>,
    pub(crate) exchanges: Vec<Exchange>,
}

/// Bytes sent in one write, and the pattern of everything that comes back.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) request: Vec<u8>,
    pub(crate) reply: String,
}

/// Reads all transcripts, in the order of their names.
pub(crate) fn read_all() -> Vec<Transcript> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/handshakes");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of this file is there")
        .map(|entry| entry.expect("its entries can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Transcript {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(path).expect("a transcript is text");
    assert!(text.contains("\n# Source: "), "{name} does not say where it is from");
    let mut transcript = Transcript { name, password: None, exchanges: Vec::new() };
    for line in text.lines() {
        match line.split_at_checked(2) {
            Some(("> ", request)) => {
                transcript.exchanges.push(Exchange { request: unescape(request), reply: String::new() });
            }
            Some(("< ", reply)) => {
                let exchange = transcript.exchanges.last_mut().expect("a reply follows a request");
                exchange.reply.push_str(reply);
            }
            Some(("! ", setup)) => match setup.split_once(' ') {
                Some(("password", password)) => transcript.password = Some(password.to_owned()),
                _ => panic!("{}: {setup} is not known", transcript.name),
            },
            Some(("# ", _)) | None => {}
            Some(_) => panic!("{}: {line}", transcript.name),
        }
    }
    assert!(!transcript.exchanges.is_empty(), "{} is empty", transcript.name);
    transcript
}

impl Exchange {
    /// How many replies come back: one for each request.
    pub(crate) fn reply_count(&self) -> usize {
        let (mut rest, mut count) = (self.request.as_slice(), 0);
        while !rest.is_empty() {
            let (_, len) =
                redis_protocol::resp2::decode::decode(rest).expect("a request is RESP").expect("it is whole");
            rest = &rest[len..];
            count += 1;
        }
        count
    }

    /// Whether `reply` is what the pattern says, to its end.
    pub(crate) fn is_met_by(&self, reply: &[u8]) -> bool {
        let (mut pattern, mut rest) = (self.reply.as_str(), reply);
        while let Some(open) = pattern.find('{') {
            let (literal, behind) = pattern.split_at(open);
            let (hole, after) = behind.split_once('}').expect("a hole is closed");
            let Some(stripped) = rest.strip_prefix(unescape(literal).as_slice()) else { return false };
            let Some(filled) = hole_len(&hole[1..], stripped) else { return false };
            (pattern, rest) = (after, &stripped[filled..]);
        }
        rest == unescape(pattern)
    }
}

/// How many bytes fill a hole. `None`: these cannot.
fn hole_len(hole: &str, bytes: &[u8]) -> Option<usize> {
    match hole {
        "int" => bytes.iter().position(|byte| !byte.is_ascii_digit()).filter(|&len| len > 0),
        "line" => bytes.iter().position(|byte| *byte == b'\r'),
        "bulk" => {
            let header = bytes.strip_prefix(b"$")?.iter().position(|byte| *byte == b'\r')?;
            let len: usize = std::str::from_utf8(&bytes[1..=header]).ok()?.parse().ok()?;
            Some(1 + header + 2 + len + 2)
        }
        "rest" => Some(bytes.len()),
        other => panic!("no hole is called {other}"),
    }
}

fn unescape(text: &str) -> Vec<u8> {
    text.replace("\\r", "\r").replace("\\n", "\n").into_bytes()
}
