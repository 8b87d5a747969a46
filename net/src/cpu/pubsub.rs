//! Who on this CPU listens to which channel.
//!
//! Messages reach subscribers at any node at most once and are not in the log: whoever is connected when a message
//! passes gets it, and nobody is told what he missed.
//!
//! # Bounds
//! A connection has at most [`SUBSCRIPTIONS_MAX`] subscriptions; one more is refused. A subscriber that does not read is
//! disconnected when its output is full.

use std::collections::HashMap;

use dashmap::DashMap;

use crate::resp::glob;
use crate::transport::ConnId;
use crate::wire::Audience;

/// Most channels, patterns and sharded channels of one connection, together.
pub(crate) const SUBSCRIPTIONS_MAX: usize = 10_000;

/// What a subscription names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A channel.
    Channel,
    /// All channels that match a pattern.
    Pattern,
    /// A channel that belongs to a slot.
    Shard,
}

/// How many connections of a node listen to each channel, for `PUBSUB`.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    channels: DashMap<Vec<u8>, usize>,
    shards: DashMap<Vec<u8>, usize>,
    patterns: DashMap<Vec<u8>, usize>,
}

impl Channels {
    fn of(&self, kind: Kind) -> &DashMap<Vec<u8>, usize> {
        match kind {
            Kind::Channel => &self.channels,
            Kind::Pattern => &self.patterns,
            Kind::Shard => &self.shards,
        }
    }

    /// Returns how many connections subscribe to `name`.
    pub(crate) fn count(&self, kind: Kind, name: &[u8]) -> usize {
        self.of(kind).get(name).map_or(0, |count| *count)
    }

    /// Returns how many different names there are.
    pub(crate) fn len(&self, kind: Kind) -> usize {
        self.of(kind).len()
    }

    /// Returns the names that match `pattern`, sorted.
    pub(crate) fn names(&self, kind: Kind, pattern: Option<&[u8]>) -> Vec<Vec<u8>> {
        let is_wanted = |name: &[u8]| pattern.is_none_or(|pattern| glob::matches(pattern, name));
        let mut names: Vec<Vec<u8>> =
            self.of(kind).iter().filter(|row| is_wanted(row.key())).map(|row| row.key().clone()).collect();
        names.sort();
        names
    }

    fn add(&self, kind: Kind, name: &[u8]) {
        *self.of(kind).entry(name.to_vec()).or_insert(0) += 1;
    }

    fn remove(&self, kind: Kind, name: &[u8]) {
        if let Some(mut count) = self.of(kind).get_mut(name) {
            *count = count.saturating_sub(1);
        }
        self.of(kind).remove_if(name, |_, count| *count == 0);
    }

    /// Returns how many connections of the node a message reaches.
    pub(crate) fn audience(&self, audience: Audience, channel: &[u8]) -> usize {
        match audience {
            Audience::Shard => self.count(Kind::Shard, channel),
            Audience::Channel => {
                let patterns = self.patterns.iter().filter(|row| glob::matches(row.key(), channel));
                self.count(Kind::Channel, channel) + patterns.map(|row| *row).sum::<usize>()
            }
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    channels: HashMap<Vec<u8>, Vec<ConnId>>,
    shards: HashMap<Vec<u8>, Vec<ConnId>>,
    patterns: Vec<(Vec<u8>, Vec<ConnId>)>,
}

impl Subscriptions {
    /// Adds a subscription; returns whether it is new.
    pub(crate) fn add(&mut self, all: &Channels, kind: Kind, name: &[u8], conn: ConnId) -> bool {
        let listeners = match kind {
            Kind::Channel => self.channels.entry(name.to_vec()).or_default(),
            Kind::Shard => self.shards.entry(name.to_vec()).or_default(),
            Kind::Pattern => match self.patterns.iter().position(|(pattern, _)| pattern == name) {
                Some(position) => &mut self.patterns[position].1,
                None => {
                    self.patterns.push((name.to_vec(), Vec::new()));
                    &mut self.patterns.last_mut().expect("pushed above").1
                }
            },
        };
        if listeners.contains(&conn) {
            return false;
        }
        listeners.push(conn);
        all.add(kind, name);
        true
    }

    /// Removes a subscription; returns whether there was one.
    pub(crate) fn remove(&mut self, all: &Channels, kind: Kind, name: &[u8], conn: ConnId) -> bool {
        let map = match kind {
            Kind::Channel => &mut self.channels,
            Kind::Shard => &mut self.shards,
            Kind::Pattern => {
                let Some(at) = self.patterns.iter().position(|(pattern, _)| pattern == name) else { return false };
                let was_there = strike(&mut self.patterns[at].1, conn);
                if self.patterns[at].1.is_empty() {
                    self.patterns.swap_remove(at);
                }
                if was_there {
                    all.remove(kind, name);
                }
                return was_there;
            }
        };
        let Some(listeners) = map.get_mut(name) else { return false };
        let was_there = strike(listeners, conn);
        if listeners.is_empty() {
            map.remove(name);
        }
        if was_there {
            all.remove(kind, name);
        }
        was_there
    }

    /// Calls `deliver` for each connection that a message reaches, with the pattern that matched, if it was one.
    pub(crate) fn reach(&self, audience: Audience, channel: &[u8], mut deliver: impl FnMut(ConnId, Option<&[u8]>)) {
        let map = match audience {
            Audience::Channel => &self.channels,
            Audience::Shard => &self.shards,
        };
        for conn in map.get(channel).into_iter().flatten() {
            deliver(*conn, None);
        }
        if audience == Audience::Channel {
            for (pattern, listeners) in self.patterns.iter().filter(|(pattern, _)| glob::matches(pattern, channel)) {
                listeners.iter().for_each(|conn| deliver(*conn, Some(pattern)));
            }
        }
    }
}

fn strike(listeners: &mut Vec<ConnId>, conn: ConnId) -> bool {
    let position = listeners.iter().position(|listener| *listener == conn);
    position.is_some_and(|position| {
        listeners.swap_remove(position);
        true
    })
}
