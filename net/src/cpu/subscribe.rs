//! `SUBSCRIBE` and its family: what a connection listens to, and how a message reaches it.

use crate::resp::session::Subscriptions as Tally;
use crate::resp::table::CommandId;
use crate::resp::{Args, Encoder};
use crate::transport::{Close, ConnId};
use crate::wire::{Audience, Publish};

use super::Cpu;
use super::front::Front;
use super::pubsub::{Kind, SUBSCRIPTIONS_MAX};
use super::resp::Step;

impl Cpu {
    /// Answers the commands about channels; `None` if it is none of them.
    pub(super) fn serve_channels(&mut self, conn: ConnId, id: CommandId, args: Args<'_>) -> Option<Step> {
        match id {
            CommandId::Subscribe => self.front.subscribe(conn, Kind::Channel, args),
            CommandId::Psubscribe => self.front.subscribe(conn, Kind::Pattern, args),
            CommandId::Ssubscribe => self.front.subscribe(conn, Kind::Shard, args),
            CommandId::Unsubscribe => self.front.unsubscribe(conn, Kind::Channel, args),
            CommandId::Punsubscribe => self.front.unsubscribe(conn, Kind::Pattern, args),
            CommandId::Sunsubscribe => self.front.unsubscribe(conn, Kind::Shard, args),
            CommandId::Publish => self.front.publish(conn, Audience::Channel, args),
            CommandId::Spublish => self.front.publish(conn, Audience::Shard, args),
            CommandId::PubsubChannels => self.front.list_channels(conn, Kind::Channel, args),
            CommandId::PubsubShardchannels => self.front.list_channels(conn, Kind::Shard, args),
            CommandId::PubsubNumsub => self.front.count_listeners(conn, Kind::Channel, args),
            CommandId::PubsubShardnumsub => self.front.count_listeners(conn, Kind::Shard, args),
            CommandId::PubsubNumpat => {
                let count = self.front.shared.channels.len(Kind::Pattern) as u64;
                self.front.reply_now(conn, |out| out.count(count));
            }
            _ => return None,
        }
        Some(Step::Handled)
    }
}

impl Front {
    fn subscribe(&mut self, conn: ConnId, kind: Kind, args: Args<'_>) {
        for name in args.iter().skip(1) {
            let Some(resp) = self.conns.resp_mut(conn) else { return };
            if resp.subscriptions.len() >= SUBSCRIPTIONS_MAX {
                let text = format!("ERR a connection may have {SUBSCRIPTIONS_MAX} subscriptions; open another one");
                return self.reply_now(conn, |out| out.error(&text));
            }
            if self.subscriptions.add(&self.shared.channels, kind, name, conn) {
                resp.subscriptions.push((kind, name.to_vec()));
            }
            self.confirm(conn, kind, verb(kind, "subscribe"), Some(name));
        }
    }

    fn unsubscribe(&mut self, conn: ConnId, kind: Kind, args: Args<'_>) {
        let Some(resp) = self.conns.resp_mut(conn) else { return };
        let named: Vec<Vec<u8>> = if args.len() > 1 {
            args.iter().skip(1).map(<[u8]>::to_vec).collect()
        } else {
            resp.subscriptions.iter().filter(|(known, _)| *known == kind).map(|(_, name)| name.clone()).collect()
        };
        if named.is_empty() {
            return self.confirm(conn, kind, verb(kind, "unsubscribe"), None);
        }
        for name in named {
            self.subscriptions.remove(&self.shared.channels, kind, &name, conn);
            if let Some(resp) = self.conns.resp_mut(conn) {
                resp.subscriptions.retain(|(known, other)| *known != kind || *other != name);
            }
            self.confirm(conn, kind, verb(kind, "unsubscribe"), Some(&name));
        }
    }

    /// Says what a subscription has become, and how many of its sort there are now.
    fn confirm(&mut self, conn: ConnId, kind: Kind, verb: &str, name: Option<&[u8]>) {
        let Some(resp) = self.conns.resp_mut(conn) else { return };
        let count_of = |wanted: Kind| resp.subscriptions.iter().filter(|(known, _)| *known == wanted).count();
        let [channels, patterns, shards] = [Kind::Channel, Kind::Pattern, Kind::Shard].map(count_of);
        let count = if kind == Kind::Shard { shards } else { channels + patterns };
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let tally = Tally { channels: narrow(channels), patterns: narrow(patterns), shard_channels: narrow(shards) };
        if let Some(session) = resp.session_mut() {
            session.record_subscriptions(tally);
        }
        self.reply_now(conn, |out| {
            out.push(3);
            out.text(verb);
            match name {
                Some(name) => out.bulk(name),
                None => out.null(),
            }
            out.count(count as u64);
        });
    }

    /// Ends all subscriptions of a connection without a word.
    pub(super) fn unsubscribe_all(&mut self, conn: ConnId) {
        let Some(resp) = self.conns.resp_mut(conn) else { return };
        let ended = core::mem::take(&mut resp.subscriptions);
        if let Some(session) = resp.session_mut() {
            session.record_subscriptions(Tally::default());
        }
        self.drop_subscriptions(conn, &ended);
    }

    pub(super) fn drop_subscriptions(&mut self, conn: ConnId, ended: &[(Kind, Vec<u8>)]) {
        for (kind, name) in ended {
            self.subscriptions.remove(&self.shared.channels, *kind, name, conn);
        }
    }

    fn publish(&mut self, conn: ConnId, audience: Audience, args: Args<'_>) {
        let publish = Publish { audience, channel: &args[1], payload: &args[2] };
        // Those of this node are counted; nobody waits for the others.
        let count = self.shared.channels.audience(audience, publish.channel) as u64;
        self.deliver(&publish);
        self.spread(&publish, true);
        self.reply_now(conn, |out| out.count(count));
    }

    /// Brings a message to the subscribers on this CPU.
    pub(super) fn deliver(&mut self, publish: &Publish<'_>) {
        let Self { subscriptions, conns, outbox, .. } = self;
        subscriptions.reach(publish.audience, publish.channel, |conn, pattern| {
            let Some(resp) = conns.resp_mut(conn) else { return };
            let protocol = resp.protocol;
            match outbox.buffer(conn) {
                Ok(buffer) => {
                    let mut out = Encoder::new(buffer.as_vec(), protocol);
                    out.push(if pattern.is_some() { 4 } else { 3 });
                    out.text(match (publish.audience, pattern) {
                        (_, Some(_)) => "pmessage",
                        (Audience::Channel, None) => "message",
                        (Audience::Shard, None) => "smessage",
                    });
                    if let Some(pattern) = pattern {
                        out.bulk(pattern);
                    }
                    out.bulk(publish.channel);
                    out.bulk(publish.payload);
                }
                // It has not read what it was sent for a long time.
                Err(_) => outbox.close(conn, Close::Now),
            }
        });
    }

    fn list_channels(&mut self, conn: ConnId, kind: Kind, args: Args<'_>) {
        let names = self.shared.channels.names(kind, args.get(2));
        self.reply_now(conn, |out| {
            out.array(names.len());
            names.iter().for_each(|name| out.bulk(name));
        });
    }

    fn count_listeners(&mut self, conn: ConnId, kind: Kind, args: Args<'_>) {
        let shared = std::sync::Arc::clone(&self.shared);
        self.reply_now(conn, |out| {
            out.array(2 * (args.len() - 2));
            for name in args.iter().skip(2) {
                out.bulk(name);
                out.count(shared.channels.count(kind, name) as u64);
            }
        });
    }
}

/// Returns the word for a change of a subscription.
fn verb(kind: Kind, plain: &'static str) -> &'static str {
    match (kind, plain) {
        (Kind::Channel, plain) => plain,
        (Kind::Pattern, "subscribe") => "psubscribe",
        (Kind::Pattern, _) => "punsubscribe",
        (Kind::Shard, "subscribe") => "ssubscribe",
        (Kind::Shard, _) => "sunsubscribe",
    }
}
