//! A RESP client that hides nothing: requests as bytes, replies as they came, both versions of the protocol.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use quorate::cli::status::report::Report;

use super::daemons::DEADLINE;

/// A connection.
#[derive(Debug)]
pub(crate) struct Resp {
    stream: BufReader<TcpStream>,
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Word(String),
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    Nil,
    Array(Vec<Reply>),
    Map(Vec<(Reply, Reply)>),
    Push(Vec<Reply>),
    /// A reply behind an attribute.
    Attributed(Vec<(Reply, Reply)>, Box<Reply>),
}

/// What came instead of a reply: the connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

impl Resp {
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        Self::over(stream)
    }

    /// Connects if somebody is there.
    pub(crate) fn try_connect(address: &str) -> Option<Self> {
        TcpStream::connect(address).ok().map(Self::over)
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
        stream.set_write_timeout(Some(DEADLINE)).expect("not zero");
        stream.set_nodelay(true).expect("it is TCP");
        Self { stream: BufReader::with_capacity(64 << 10, stream) }
    }

    /// Sends a request and waits for its reply.
    pub(crate) fn ask(&mut self, request: &[&str]) -> Reply {
        self.send(request);
        self.receive()
    }

    /// Sends a request whose reply is taken later.
    pub(crate) fn send(&mut self, request: &[&str]) {
        let mut bytes = Vec::new();
        push_request(&mut bytes, request);
        self.send_bytes(&bytes);
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.try_send_bytes(bytes).expect("the node reads");
    }

    /// Sends bytes to a node that may have closed the connection.
    pub(crate) fn try_send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Sends all requests and then takes all replies, a thousand at a time.
    pub(crate) fn pipeline<'a>(&mut self, requests: impl Iterator<Item = Vec<&'a str>>) -> Vec<Reply> {
        let requests: Vec<Vec<&str>> = requests.collect();
        let mut replies = Vec::with_capacity(requests.len());
        for part in requests.chunks(1_000) {
            let mut bytes = Vec::new();
            part.iter().for_each(|request| push_request(&mut bytes, request));
            self.send_bytes(&bytes);
            replies.extend(part.iter().map(|_| self.receive()));
        }
        replies
    }

    pub(crate) fn receive(&mut self) -> Reply {
        self.try_receive().expect("a reply, not the end of the connection")
    }

    /// Returns the next reply, or that there will be none.
    pub(crate) fn try_receive(&mut self) -> Result<Reply, Closed> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => return Err(Closed),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Err(Closed),
            Err(error) => panic!("no reply within {DEADLINE:?}: {error}"),
            Ok(_) => {}
        }
        let (kind, text) = line.trim_end().split_at(1);
        let number = || text.parse::<i64>().unwrap_or_else(|_| panic!("a number in {line:?}"));
        let count = || usize::try_from(number()).ok();
        Ok(match kind {
            "+" => Reply::Word(text.to_owned()),
            "-" => Reply::Error(text.to_owned()),
            ":" => Reply::Int(number()),
            "_" => Reply::Nil,
            "$" | "=" => match count() {
                None => Reply::Nil,
                Some(length) => {
                    let mut bytes = vec![0; length + 2];
                    self.stream.read_exact(&mut bytes).expect("as long as it says");
                    bytes.truncate(length);
                    Reply::Bulk(bytes)
                }
            },
            "*" => count().map_or(Reply::Nil, |count| Reply::Array(self.receive_many(count))),
            ">" => Reply::Push(self.receive_many(count().expect("a push has a length"))),
            "%" => Reply::Map(self.receive_pairs(count().expect("a map has a length"))),
            "|" => {
                let pairs = self.receive_pairs(count().expect("an attribute has a length"));
                Reply::Attributed(pairs, Box::new(self.receive()))
            }
            _ => panic!("not RESP: {line:?}"),
        })
    }

    fn receive_many(&mut self, count: usize) -> Vec<Reply> {
        (0..count).map(|_| self.receive()).collect()
    }

    fn receive_pairs(&mut self, count: usize) -> Vec<(Reply, Reply)> {
        (0..count).map(|_| (self.receive(), self.receive())).collect()
    }

    /// Returns the state of the node, if it gives one.
    pub(crate) fn try_status(&mut self) -> Option<Report> {
        let mut request = Vec::new();
        push_request(&mut request, &["NODE", "STATUS"]);
        self.try_send_bytes(&request).ok()?;
        match self.try_receive().ok()? {
            Reply::Bulk(text) => Report::parse(&String::from_utf8_lossy(&text)).ok(),
            _ => None,
        }
    }

    /// Whether the node closes the connection and says nothing more.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.try_receive() == Err(Closed)
    }

    /// Whether nothing comes for a moment; only a hint, for what must not come.
    pub(crate) fn is_silent(&mut self, moment: Duration) -> bool {
        self.stream.get_ref().set_read_timeout(Some(moment)).expect("not zero");
        let is_silent = self.stream.fill_buf().is_err();
        self.stream.get_ref().set_read_timeout(Some(DEADLINE)).expect("not zero");
        is_silent
    }
}

impl Reply {
    pub(crate) fn ok() -> Self {
        Self::Word("OK".to_owned())
    }

    pub(crate) fn bulk(text: impl AsRef<[u8]>) -> Self {
        Self::Bulk(text.as_ref().to_vec())
    }

    /// Returns the value behind a name in a map.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        let Self::Map(pairs) = self else { panic!("expected a map, got {self:?}") };
        pairs.iter().find(|(known, _)| *known == Self::bulk(name)).map(|(_, value)| value)
    }

    /// Returns the number behind a name in a map.
    pub(crate) fn number(&self, name: &str) -> i64 {
        match self.field(name) {
            Some(Self::Int(number)) => *number,
            other => panic!("{name} is {other:?} in {self:?}"),
        }
    }

    /// Returns the text of an error.
    pub(crate) fn error(&self) -> &str {
        match self {
            Self::Error(text) => text,
            other => panic!("expected an error, got {other:?}"),
        }
    }

    /// Whether it is an error whose first word is `code`.
    pub(crate) fn is_error(&self, code: &str) -> bool {
        matches!(self, Self::Error(text) if text.split(' ').next() == Some(code))
    }
}

/// Appends a request.
pub(crate) fn push_request(out: &mut Vec<u8>, request: &[&str]) {
    out.extend_from_slice(format!("*{}\r\n", request.len()).as_bytes());
    for argument in request {
        out.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        out.extend_from_slice(argument.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}
