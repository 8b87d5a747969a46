//! How large a model is.

/// What the world of a model consists of, and how much of everything can happen in it.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Nodes 1, 2, 3, …
    pub nodes: u16,
    /// How many of the first ones are members in the beginning; the others copy the log. Node 1 leads.
    pub members: u16,
    /// Nodes that do not copy the log while they are no members.
    pub idle: Vec<u16>,
    /// How many members must hold a write.
    pub write_quorum: usize,
    /// What can become of messages between processes.
    pub links: Links,
    /// Writes of clients.
    pub writes: u8,
    /// Reads that renew the lease of a leader. Reads that a leader answers at once do nothing, so they always happen.
    pub renewals: u8,
    /// Changes that the core may decide on, at any time.
    pub changes: Vec<Change>,
    /// In which order.
    pub order: Order,
    /// Nodes that may lose their memory.
    pub restarts: Vec<u16>,
    /// How many times one does.
    pub restarts_max: u8,
    /// Whether losses are accepted though nothing is lost: whoever is declared dead runs, and has not heard of it.
    pub has_liar: bool,
    /// Ticks of the clock that all processes have. With 0 there is none: each process's own clock stands still until it
    /// waits for leases to run out, and goes on then, as if others had waited as long. Leases say nothing then.
    pub ticks: u64,
    /// Length of a read lease, in ticks.
    pub lease_ticks: u32,
    /// Whether read leases run in the beginning, or have run out.
    pub leased: bool,
}

/// What can become of messages between processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// As on the connections that there are: they come in order, and any of them may be lost.
    Ordered,
    /// They come in any order, or never.
    Unordered,
    /// They come in any order, as often as they like, or never.
    Repeating,
}

/// In which order the core decides on changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// In the one that they are listed in, each once.
    Given,
    /// In any, each as often as it likes, but no more than so many in all.
    Any(u8),
}

/// A change that the core may decide on. Members are nodes: for a takeover, those runs that are active, for the others, those
/// that registered last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// A node takes over.
    Takeover {
        /// Which one.
        leader: u16,
        /// The members, it among them.
        members: Vec<u16>,
    },
    /// The leader of the active configuration changes members.
    Live {
        /// The members, it among them.
        members: Vec<u16>,
    },
    /// An operator accepts what is lost, once the group cannot be led any more: its leader has lost its memory, and too few
    /// members have not.
    Loss {
        /// Who leads then.
        leader: u16,
        /// The members, it among them.
        members: Vec<u16>,
    },
}

impl Default for Bounds {
    /// Three members, two of which hold a write, and nothing happens.
    fn default() -> Self {
        Self {
            nodes: 3,
            members: 3,
            idle: Vec::new(),
            write_quorum: 2,
            links: Links::Ordered,
            writes: 0,
            renewals: 0,
            changes: Vec::new(),
            order: Order::Given,
            restarts: Vec::new(),
            restarts_max: 0,
            has_liar: false,
            ticks: 0,
            lease_ticks: 1,
            leased: false,
        }
    }
}
