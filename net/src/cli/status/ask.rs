//! Questions to a node over its RESP door, and their replies: as much of a RESP client as our own verbs need.
//!
//! It waits for each reply, or sends many questions and then takes as many replies. Replies are RESP2, in which a map is
//! an array of names and values in turn.
//!
//! # Bounds
//! A reply may be `BULK_BYTES_MAX` long, hold `ITEMS_MAX` items in one array and be nested `DEPTH_MAX` deep. Each
//! read and write waits no longer than the timeout given to [`Asker::connect`].

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use thiserror::Error;

/// A connection to the RESP door of one node.
#[derive(Debug)]
pub struct Asker {
    address: String,
    timeout: Duration,
    stream: BufReader<TcpStream>,
    /// Questions that were not sent yet.
    output: Vec<u8>,
}

/// What a node replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A word, like `OK`.
    Word(String),
    /// An error of this one command; begins with an upper-case code.
    Error(String),
    /// A number.
    Int(i64),
    /// Bytes.
    Bulk(Vec<u8>),
    /// There is no such thing.
    Nil,
    /// Replies in a row.
    Array(Vec<Reply>),
}

/// Why there is no reply.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AskError {
    /// The address is none, or its name has none.
    #[error("{address}: cannot resolve: {error}; expected HOST:PORT, like 127.0.0.1:7400")]
    Resolve {
        /// As given.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// Nobody is there.
    #[error("{address}: cannot connect: {error}; is the node running, and is this its listen.resp?")]
    Unreachable {
        /// As given.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// The connection was lost.
    #[error("{address}: the connection was lost: {error}; is this the listen.resp of a node?")]
    Lost {
        /// As given.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// Nothing came in time.
    #[error("{address}: no answer within {timeout:?}; the node hangs or is stopped")]
    Silent {
        /// As given.
        address: String,
        /// How long we waited.
        timeout: Duration,
    },
    /// What came is no reply.
    #[error(
        "{address}: what answers there does not speak RESP ({found}); the door to ask is listen.resp, by default port 7400"
    )]
    NotResp {
        /// As given.
        address: String,
        /// What came.
        found: String,
    },
    /// The node answered with an error.
    #[error("{address}: {text}{}", advice(.text))]
    Refused {
        /// As given.
        address: String,
        /// The error as it came.
        text: String,
    },
}

fn advice(text: &str) -> &'static str {
    match text.split(' ').next() {
        Some("NOAUTH") => "; give the password with --password or QUORATE_PASSWORD",
        Some("WRONGPASS") => "; the password is not that of the node (security.requirepass)",
        Some("ERR") if text.contains("unknown command") => "; is this a Quorate node?",
        _ => "",
    }
}

impl Asker {
    /// Connects, and logs in if there is a password.
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn connect(address: &str, password: Option<&str>, timeout: Duration) -> Result<Self, AskError> {
        let resolved = address.to_socket_addrs();
        let resolved = resolved.map_err(|error| AskError::Resolve { address: address.to_owned(), error })?;
        let mut failure = io::Error::from(ErrorKind::NotFound);
        for candidate in resolved {
            match TcpStream::connect_timeout(&candidate, timeout).and_then(|stream| prepare(stream, timeout)) {
                Ok(stream) => {
                    let stream = BufReader::with_capacity(BUFFER_BYTES, stream);
                    let mut asker = Self { address: address.to_owned(), timeout, stream, output: Vec::new() };
                    if let Some(password) = password {
                        asker.ask(&[b"AUTH", password.as_bytes()])?;
                    }
                    return Ok(asker);
                }
                Err(error) => failure = error,
            }
        }
        Err(AskError::Unreachable { address: address.to_owned(), error: failure })
    }

    /// Returns the address as it was given.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks one question and waits for its reply.
    ///
    /// # Errors
    /// [`AskError::Refused`] if the reply is an error; after any other the connection is of no more use.
    pub fn ask(&mut self, question: &[&[u8]]) -> Result<Reply, AskError> {
        self.push(question);
        match self.receive()? {
            Reply::Error(text) => Err(AskError::Refused { address: self.address.clone(), text }),
            reply => Ok(reply),
        }
    }

    /// Asks a question whose reply is text.
    ///
    /// # Errors
    /// As [`Asker::ask`]; [`AskError::NotResp`] if the reply is not text.
    pub fn ask_text(&mut self, question: &[&[u8]]) -> Result<String, AskError> {
        match self.ask(question)? {
            Reply::Bulk(bytes) => String::from_utf8(bytes).map_err(|_| self.not_resp("text that is not UTF-8")),
            Reply::Word(word) => Ok(word),
            _ => Err(self.not_resp("a reply that is not text")),
        }
    }

    /// Adds a question to those that are sent with the next [`Asker::receive`].
    pub fn push(&mut self, question: &[&[u8]]) {
        push_header(&mut self.output, b'*', question.len());
        for argument in question {
            push_header(&mut self.output, b'$', argument.len());
            self.output.extend_from_slice(argument);
            self.output.extend_from_slice(b"\r\n");
        }
    }

    /// Sends what was added, and takes the reply to the oldest question without one.
    ///
    /// # Errors
    /// See [`AskError`]; an error of the command is a reply.
    pub fn receive(&mut self) -> Result<Reply, AskError> {
        if !self.output.is_empty() {
            let sent = self.stream.get_mut().write_all(&self.output);
            self.output.clear();
            sent.map_err(|error| self.failure(error))?;
        }
        self.read_reply(0)
    }

    fn read_reply(&mut self, depth: usize) -> Result<Reply, AskError> {
        let line = self.read_line()?;
        let (kind, text) = line.split_at_checked(1).unwrap_or((&line, ""));
        match kind {
            "+" => Ok(Reply::Word(text.to_owned())),
            "-" => Ok(Reply::Error(text.to_owned())),
            ":" => text.parse().map(Reply::Int).map_err(|_| self.not_resp(&line)),
            "$" | "*" if text == "-1" => Ok(Reply::Nil),
            "$" => match text.parse::<usize>() {
                Ok(length) if length <= BULK_BYTES_MAX => self.read_bulk(length),
                _ => Err(self.not_resp(&line)),
            },
            "*" => match text.parse::<usize>() {
                Ok(count) if count <= ITEMS_MAX && depth < DEPTH_MAX => {
                    (0..count).map(|_| self.read_reply(depth + 1)).collect::<Result<_, _>>().map(Reply::Array)
                }
                _ => Err(self.not_resp(&line)),
            },
            _ => Err(self.not_resp(&line)),
        }
    }

    fn read_line(&mut self) -> Result<String, AskError> {
        let mut line = Vec::new();
        let read = (&mut self.stream).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        let count = read.map_err(|error| self.failure(error))?;
        if count == 0 {
            return Err(self.failure(ErrorKind::UnexpectedEof.into()));
        }
        let text = line.strip_suffix(b"\r\n").map(|text| String::from_utf8_lossy(text).into_owned());
        text.ok_or_else(|| self.not_resp(&String::from_utf8_lossy(&line)))
    }

    fn read_bulk(&mut self, length: usize) -> Result<Reply, AskError> {
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes).map_err(|error| self.failure(error))?;
        if !bytes.ends_with(b"\r\n") {
            return Err(self.not_resp("a text without its end"));
        }
        bytes.truncate(length);
        Ok(Reply::Bulk(bytes))
    }

    fn failure(&self, error: io::Error) -> AskError {
        let address = self.address.clone();
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => AskError::Silent { address, timeout: self.timeout },
            _ => AskError::Lost { address, error },
        }
    }

    fn not_resp(&self, found: &str) -> AskError {
        let is_text = found.trim_end().chars().all(|character| !character.is_control() && character != '\u{FFFD}');
        let shown = found.trim_end().chars().take(SHOWN_CHARS).collect::<String>();
        let found = if is_text { format!("{shown:?}") } else { "binary data".to_owned() };
        AskError::NotResp { address: self.address.clone(), found }
    }
}

fn prepare(stream: TcpStream, timeout: Duration) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(stream)
}

fn push_header(out: &mut Vec<u8>, kind: u8, number: usize) {
    out.push(kind);
    out.extend_from_slice(number.to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The state of 16384 groups is some 6 MiB.
const BULK_BYTES_MAX: usize = 64 << 20;
const ITEMS_MAX: usize = 1 << 20;
const DEPTH_MAX: usize = 8;
const LINE_BYTES_MAX: u64 = 64 << 10;
const BUFFER_BYTES: usize = 64 << 10;
/// How much of what is no reply is shown.
const SHOWN_CHARS: usize = 40;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(20);

    /// Asks a node that answers whatever it is asked with `answer`; returns the reply and what the node heard.
    fn asked(answer: &'static [u8], question: &[&[u8]]) -> (Result<Reply, AskError>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let length = {
            let mut bytes = Vec::new();
            push_header(&mut bytes, b'*', question.len());
            question.iter().for_each(|argument| {
                push_header(&mut bytes, b'$', argument.len());
                bytes.extend_from_slice(argument);
                bytes.extend_from_slice(b"\r\n");
            });
            bytes.len()
        };
        let node = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut heard = vec![0; length];
            stream.read_exact(&mut heard).expect("a question");
            stream.write_all(answer).expect("the client reads");
            heard
        });
        let mut asker = Asker::connect(&address, None, TIMEOUT).expect("it listens");
        let reply = asker.ask(question);
        (reply, node.join().expect("the node heard all"))
    }

    #[test]
    fn questions_are_arrays_and_replies_are_read_whole() {
        let (reply, heard) = asked(b"*3\r\n$2\r\na\n\r\n:-7\r\n*2\r\n+x\r\n$-1\r\n", &[b"LOG", b"DIGEST"]);
        assert_eq!(heard, b"*2\r\n$3\r\nLOG\r\n$6\r\nDIGEST\r\n");
        let inner = Reply::Array(vec![Reply::Word("x".into()), Reply::Nil]);
        assert_eq!(reply.expect("a reply"), Reply::Array(vec![Reply::Bulk(b"a\n".to_vec()), Reply::Int(-7), inner]));
    }

    #[test]
    fn an_error_says_what_to_do() {
        let (reply, _) = asked(b"-NOAUTH Authentication required.\r\n", &[b"PING"]);
        let text = reply.expect_err("refused").to_string();
        assert!(
            text.ends_with("NOAUTH Authentication required.; give the password with --password or QUORATE_PASSWORD")
        );
    }

    #[test]
    fn other_protocols_and_closed_connections_are_told_apart() {
        for answer in [&b"HTTP/1.1 400 Bad Request\r\n"[..], b"$99999999999\r\n", b"*9999999\r\n", b":x\r\n", b"\r\n"] {
            let (reply, _) = asked(answer, &[b"PING"]);
            assert!(matches!(reply, Err(AskError::NotResp { .. })), "{answer:?}: {reply:?}");
        }
        let (reply, _) = asked(b"", &[b"PING"]);
        assert!(matches!(reply, Err(AskError::Lost { .. })), "{reply:?}");
    }

    #[test]
    fn nobody_there_is_unreachable() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        drop(listener);
        let error = Asker::connect(&address, None, TIMEOUT).expect_err("nobody listens");
        assert!(matches!(error, AskError::Unreachable { .. }), "{error}");
        assert!(matches!(Asker::connect("7400", None, TIMEOUT), Err(AskError::Resolve { .. })));
    }
}
