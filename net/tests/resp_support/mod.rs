//! A server that exists only for its sessions, and a client that speaks to one of them.

pub(crate) mod allocations;

use quorate::resp::session::{
    AclLogEntry, ClientRecord, ConfigError, Password, Pause, RoleReport, Settings, Subscriptions,
};
use quorate::resp::{Limits, Outcome, Parsed, Parser, ServerView, Session};

/// A server at a fixed time, with two other connections.
#[derive(Debug)]
pub(crate) struct FakeServer {
    pub(crate) now_us: u64,
    pub(crate) password: Option<Password>,
    pub(crate) clients: Vec<ClientRecord>,
    pub(crate) closed: Vec<u64>,
    pub(crate) paused: Option<Pause>,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) denials: Vec<AclLogEntry>,
    pub(crate) resets: usize,
}

impl FakeServer {
    pub(crate) fn new() -> Self {
        let client = |id: u64| {
            ClientRecord::new(id, format!("127.0.0.1:4000{id}"), "127.0.0.1:7400".to_owned(), 1_700_000_000_000_000)
        };
        let mut subscriber = client(2);
        subscriber.subscriptions.channels = 3;
        let settings = [("save", ""), ("appendonly", "no"), ("maxmemory", "0")];
        Self {
            now_us: 1_700_000_042_123_456,
            password: None,
            clients: vec![client(1), subscriber],
            closed: Vec::new(),
            paused: None,
            settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            denials: Vec::new(),
            resets: 0,
        }
    }

    pub(crate) fn with_password(text: &str) -> Self {
        Self { password: Some(Password::new(text.as_bytes())), ..Self::new() }
    }
}

impl ServerView for FakeServer {
    fn now_us(&self) -> u64 {
        self.now_us
    }

    fn mode(&self) -> &'static str {
        "standalone"
    }

    fn role(&self) -> RoleReport {
        RoleReport::Leader { offset: 7, followers: vec![("127.0.0.1".to_owned(), 7420, 6)] }
    }

    fn password(&self) -> Option<Password> {
        self.password
    }

    fn set_password(&mut self, password: Option<Password>) {
        self.password = password;
    }

    fn visit_clients(&self, visit: &mut dyn FnMut(&ClientRecord)) {
        self.clients.iter().for_each(visit);
    }

    fn record_client(&mut self, record: &ClientRecord) {
        self.clients.retain(|client| client.id != record.id);
        self.clients.push(record.clone());
    }

    fn close_clients(&mut self, asking: u64, is_meant: &dyn Fn(&ClientRecord) -> bool) -> usize {
        let meant =
            self.clients.iter().filter(|client| client.id != asking && is_meant(client)).map(|client| client.id);
        let before = self.closed.len();
        self.closed.extend(meant);
        self.closed.len() - before
    }

    fn pause(&mut self, pause: Pause) {
        self.paused = Some(pause);
    }

    fn unpause(&mut self) {
        self.paused = None;
    }

    fn visit_settings(&self, visit: &mut dyn FnMut(&str, &str)) {
        self.settings.iter().for_each(|(name, value)| visit(name, value));
    }

    fn change_settings(&mut self, settings: Settings<'_>) -> Result<(), ConfigError> {
        let mut changed = self.settings.clone();
        for (name, value) in settings {
            let setting = changed.iter_mut().find(|(known, _)| known == name);
            let setting = setting.ok_or_else(|| ConfigError::Unknown { name: (*name).to_owned() })?;
            setting.1 = String::from_utf8_lossy(value).into_owned();
        }
        self.settings = changed;
        Ok(())
    }

    fn reset_statistics(&mut self) {
        self.resets += 1;
    }

    fn record_denial(&mut self, entry: AclLogEntry) {
        self.denials.insert(0, entry);
    }

    fn denials(&self, count: usize) -> Vec<AclLogEntry> {
        self.denials.iter().take(count).cloned().collect()
    }

    fn forget_denials(&mut self) {
        self.denials.clear();
    }
}

/// One connection to a [`FakeServer`], with the id 9.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) server: FakeServer,
    pub(crate) session: Session,
    parser: Parser,
}

impl Connection {
    pub(crate) fn new(server: FakeServer) -> Self {
        let record =
            ClientRecord::new(9, "127.0.0.1:40009".to_owned(), "127.0.0.1:7400".to_owned(), server.now_us - 3_000_000);
        let session = Session::new(record, &server);
        Self { server, session, parser: Parser::new(Limits::default()) }
    }

    /// Sends bytes that are whole requests; returns all replies, and what was to be done after the last.
    pub(crate) fn exchange(&mut self, mut bytes: &[u8]) -> (Vec<u8>, Outcome) {
        let mut reply = Vec::new();
        let mut outcome = Outcome::Answered;
        while !bytes.is_empty() {
            let consumed = match self.parser.parse(bytes, self.session.trust()) {
                Parsed::Complete { consumed } => consumed,
                other => panic!("{other:?} for {}", bytes.escape_ascii()),
            };
            outcome = self.session.dispatch(self.parser.args(bytes), &mut self.server, &mut reply);
            bytes = &bytes[consumed..];
        }
        (reply, outcome)
    }

    /// Sends one line; returns the reply with `|` for each end of line.
    pub(crate) fn say(&mut self, line: &str) -> String {
        let (reply, _) = self.exchange(format!("{line}\r\n").as_bytes());
        String::from_utf8(reply).expect("every reply here is text").replace("\r\n", "|")
    }

    /// Sends one line; returns what is to be done next.
    pub(crate) fn outcome(&mut self, line: &str) -> Outcome {
        self.exchange(format!("{line}\r\n").as_bytes()).1
    }

    /// Gives the connection one subscription.
    pub(crate) fn subscribe(&mut self) {
        self.session.record_subscriptions(Subscriptions { channels: 1, ..Subscriptions::default() });
    }
}
