//! What `/metrics` says, in the text form of OpenMetrics.
//!
//! Each scrape is read anew from what is counted anyway. What cannot be told truthfully is left out: a group that is not held
//! here has no log, a CPU that does not answer says nothing of its groups.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use quorate_engine::ids::NodeId;
use quorate_engine::{GroupState, GroupStatus};

use crate::cli::version::{COMMIT, VERSION};
use crate::clock;
use crate::control::exchange::{CoreLog, CorePart, CoreView};
use crate::cpu::{Census, GroupCensus};
use crate::node::facts::Facts;
use crate::node::{Counters, Shared};

/// The form of the text.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Returns the text of one scrape.
///
/// # Errors
/// The library refuses a name of ours.
pub(super) fn encode(facts: &Facts, shared: &Shared, census: &[Option<Census>]) -> Result<String, fmt::Error> {
    let mut page = Page::default();
    page.node(facts, shared);
    page.cpus(shared);
    page.core(shared);
    let groups: Vec<&GroupCensus> = census.iter().flatten().flat_map(|census| &census.groups).collect();
    page.groups(&groups);
    page.replicas(facts, &groups);
    let mut registry = Registry::with_prefix("quorate");
    registry.register_collector(Box::new(page));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

/// All metrics of one scrape.
#[derive(Debug, Default)]
struct Page(Vec<Metric>);

#[derive(Debug)]
struct Metric {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    samples: Vec<(Labels, f64)>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// It only grows, until the process ends or `CONFIG RESETSTAT` sets it back.
    Counter,
    Gauge,
}

type Labels = Vec<(&'static str, String)>;

impl Page {
    fn counter(&mut self, name: &'static str, help: &'static str, samples: impl IntoIterator<Item = (Labels, f64)>) {
        self.0.push(Metric { name, help, kind: Kind::Counter, samples: samples.into_iter().collect() });
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, samples: impl IntoIterator<Item = (Labels, f64)>) {
        self.0.push(Metric { name, help, kind: Kind::Gauge, samples: samples.into_iter().collect() });
    }

    fn one(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.gauge(name, help, [(Labels::new(), value)]);
    }

    fn node(&mut self, facts: &Facts, shared: &Shared) {
        let driver = shared.io.get().map_or_else(String::new, |choice| choice.driver.to_string());
        let build = vec![("version", VERSION.to_owned()), ("commit", COMMIT.to_owned()), ("io_driver", driver)];
        self.gauge("build_info", "The build, and what moves its data", [(build, 1.0)]);
        let uptime = clock::now().since(facts.started).as_secs_f64();
        self.one("uptime_seconds", "Time since the process started, on the monotonic clock", uptime);
        let clients = shared.clients.len();
        self.one("clients", "RESP clients that are connected", whole(clients as u64));
        let clients_max = facts.settings.limits().clients_len_max;
        self.one("clients_max", "RESP clients that may be connected", whole(clients_max as u64));
        let memory_max = facts.settings.node().memory_bytes_max;
        self.one("memory_max_bytes", "Bytes that keys and values may take (node.memory_max)", whole(memory_max));
        let log_bytes = facts.settings.node().log_bytes;
        self.one("log_memory_bytes", "Bytes set aside for logs (node.log_memory)", whole(log_bytes));
        if let Some(bytes) = resident_bytes() {
            self.one("resident_memory_bytes", "Resident memory of the process", whole(bytes));
        }
        if let Ok(usage) = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF) {
            let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
            let modes = [("user", usage.user_time()), ("system", usage.system_time())];
            let modes = modes.map(|(mode, time)| (vec![("mode", mode.to_owned())], seconds(time)));
            self.counter("processor_seconds", "Processor time that all threads of the process have taken", modes);
        }
    }

    fn cpus(&mut self, shared: &Shared) {
        let of_each = |counter: fn(&Counters) -> &AtomicU64| {
            let counters = shared.all_counters().map(|counters| counter(counters).load(Ordering::Relaxed));
            (0..).zip(counters).map(|(cpu, count)| (labelled("cpu", cpu), whole(count))).collect::<Vec<_>>()
        };
        self.counter("commands", "Commands of RESP clients", of_each(|counters| &counters.commands));
        self.counter("engine_replies", "Requests that the engine has answered", of_each(|c| &c.engine_replies));
        self.counter("connections", "Connections of RESP clients accepted", of_each(|c| &c.connections));
        self.counter("turns", "Turns of the loop of a CPU", of_each(|counters| &counters.turns));
        self.gauge("keys", "Keys held, brought up to date every 20 ms", of_each(|counters| &counters.keys));
        let used = of_each(|counters| &counters.used_bytes);
        self.gauge("memory_used_bytes", "Bytes of keys and values, with overhead", used);
        let under_way = of_each(|counters| &counters.under_way);
        self.gauge("requests_under_way", "Requests that wait for an answer", under_way);
    }

    fn core(&mut self, shared: &Shared) {
        let CoreView { part, leader, log, said } = shared.exchange.core();
        self.gauge(
            "core_part",
            "What the node has to do with the consistent core",
            [(vec![("part", part.word().to_owned())], 1.0)],
        );
        if let CorePart::Voting(era) = part {
            self.one("core_era", "The era of the core in which the node votes", f64::from(era));
        }
        if let Some(CoreLog { round, applied, hears_majority }) = log {
            let help = "The last round of its consensus that this node has promised to take part in: grows with every election";
            self.one("core_round", help, f64::from(round));
            let help = "Entries of the log of this era of the core that this node has applied";
            self.one("core_applied_index", help, whole(applied));
            let help = "Whether this node of the core hears a majority of them; 0: what it says of nodes and groups may be old";
            self.one("core_majority_heard", help, f64::from(u8::from(hears_majority)));
            let said = [("log", said.log), ("election", said.election), ("news", said.news), ("events", said.events)];
            let said = said.map(|(about, count)| (labelled("about", about), whole(count)));
            let help = "Messages said as a node of the core: to others of it about the log and elections, and to nodes";
            self.counter("core_messages", help, said);
        }
        if let Some(leader) = leader {
            self.one("core_leader", "The node that leads the core, as far as this one knows", f64::from(leader.0));
        }
        let events = shared.exchange.journal().next() - 1;
        self.one("core_events", "Index of the last event of the cluster that is known here", whole(events));
        let nodes = shared.exchange.nodes();
        let nodes = nodes.iter().map(|(node, run)| (labelled("node", node), if run.is_up { 1.0 } else { 0.0 }));
        self.gauge("node_up", "Whether a node is up, as the consistent core has said last", nodes);
        let takeovers = shared.exchange.takeovers();
        let takeovers = takeovers.map(|(reason, count)| (vec![("reason", reason.to_owned())], whole(count)));
        let help = "Takeovers in the cluster that have begun, as far as this process has heard";
        self.counter("takeovers", help, takeovers);
    }

    fn groups(&mut self, groups: &[&GroupCensus]) {
        let held = || groups.iter().filter_map(|group| group.held.as_ref());
        let led = held().filter(|status| status.state == GroupState::Serving).count();
        self.one("groups_held", "Groups of which there is a replica here", whole(held().count() as u64));
        self.one("groups_led", "Groups that are led here, and served", whole(led as u64));
        let loss_gen = groups.iter().map(|group| group.loss_gen).max().unwrap_or(0);
        let help = "How often it was accepted that acknowledged writes of a group are lost: the largest of all groups";
        self.one("loss_gen", help, whole(loss_gen));
        let waiting = held().map(|status| status.waiter_count as u64).sum();
        self.one("requests_waiting_for_quorum", "Requests at leaders here that wait for their quorum", whole(waiting));
        let mut of_each = |name, help, value: fn(&GroupStatus) -> u64| {
            self.gauge(name, help, held().map(|status| (labelled("group", status.group), whole(value(status)))));
        };
        of_each("group_epoch", "The epoch of a group", |status| status.epoch.0);
        of_each("log_last_index", "The last entry in the log of a replica here", |status| status.last.0);
        of_each("log_commit_index", "The last entry known to be committed", |status| status.commit.0);
        of_each("log_applied_index", "The last entry that a replica here has executed", |status| status.applied.0);
    }

    /// How far the others are behind in what is led here.
    fn replicas(&mut self, facts: &Facts, groups: &[&GroupCensus]) {
        let led = || {
            let held = groups.iter().filter_map(|group| group.held.as_ref());
            held.filter(|status| status.leader == facts.node && status.state == GroupState::Serving)
        };
        let lag = |peer| {
            let behind = |status: &GroupStatus| {
                let member = status.members.iter().find(|member| member.node == peer)?;
                Some(status.last.0.saturating_sub(member.matched.0))
            };
            led().filter_map(behind).max()
        };
        let members = led().flat_map(|status| status.members.iter().map(|member| member.node));
        let peers: BTreeSet<NodeId> = members.filter(|node| *node != facts.node).collect();
        let lags = peers.into_iter().filter_map(|peer| Some((labelled("peer", peer), whole(lag(peer)?))));
        let help = "Entries that a replica is not known to hold, of the group led here in which it is furthest behind";
        self.gauge("replica_lag_entries", help, lags);
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for Metric { name, help, kind, samples } in self.0.iter().filter(|metric| !metric.samples.is_empty()) {
            let kind_of_library = match kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut metric = encoder.encode_descriptor(name, help, None, kind_of_library)?;
            for (labels, value) in samples {
                // Without labels there are no braces either.
                match labels.is_empty() {
                    true => write(*kind, *value, &mut metric)?,
                    false => write(*kind, *value, &mut metric.encode_family(labels)?)?,
                }
            }
        }
        Ok(())
    }
}

fn write(kind: Kind, value: f64, metric: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
    match kind {
        Kind::Counter => metric.encode_counter::<NoLabelSet, f64, f64>(&value, None),
        Kind::Gauge => metric.encode_gauge(&value),
    }
}

fn labelled(name: &'static str, value: impl fmt::Display) -> Labels {
    vec![(name, value.to_string())]
}

/// Returns a count as the number that goes out; beyond 2^53 the last digits are lost.
fn whole(count: u64) -> f64 {
    count as f64
}

/// Returns the resident memory of this process, where the system tells it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes << 10)
}
