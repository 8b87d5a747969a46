//! `INFO`: Redis' own field names where they mean the same, so that its exporters and boards work, then sections of ours.

use std::fmt::Write as _;

use quorate_engine::GroupState;
use quorate_engine::engine::Engine;

use crate::cli::version::VERSION;
use crate::clock;
use crate::control::exchange::CorePart;
use crate::resp::Args;

use super::front::Front;

/// The release whose commands clients may expect.
const REDIS_VERSION: &str = "7.2.0";

/// Writes the lines of one section.
type Section = fn(&mut String, &Front, &Engine);

const SECTIONS: [(&str, Section); 11] = [
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Stats", stats),
    ("Replication", replication),
    ("CPU", cpu),
    ("Cluster", cluster),
    ("Keyspace", keyspace),
    ("Io", io),
    ("Core", core),
    ("Quorum", quorum),
];

/// Returns the sections asked for; all of them without arguments.
pub(super) fn write(front: &Front, engine: &Engine, args: Args<'_>) -> String {
    let wanted: Vec<String> = args.iter().skip(1).map(|name| String::from_utf8_lossy(name).to_lowercase()).collect();
    let is_all = wanted.is_empty() || wanted.iter().any(|name| ["all", "everything", "default"].contains(&&**name));
    let mut text = String::new();
    for (name, section) in SECTIONS {
        if is_all || wanted.contains(&name.to_lowercase()) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            line(&mut text, format_args!("# {name}"));
            section(&mut text, front, engine);
        }
    }
    text
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(content);
    text.push_str("\r\n");
}

fn server(text: &mut String, front: &Front, _: &Engine) {
    let facts = &front.facts;
    let uptime = clock::now().since(facts.started).as_secs();
    line(text, format_args!("redis_version:{REDIS_VERSION}"));
    line(text, format_args!("quorate_version:{VERSION}"));
    line(text, format_args!("redis_mode:cluster"));
    line(text, format_args!("os:{} {}", std::env::consts::OS, std::env::consts::ARCH));
    line(text, format_args!("arch_bits:{}", usize::BITS));
    line(text, format_args!("process_id:{}", std::process::id()));
    line(text, format_args!("run_id:{:040x}", front.run.map_or(0, |run| run.incarnation.0)));
    line(text, format_args!("tcp_port:{}", facts.settings.listen().resp.port()));
    line(text, format_args!("uptime_in_seconds:{uptime}"));
    line(text, format_args!("uptime_in_days:{}", uptime / 86_400));
    line(text, format_args!("quorate_cluster:{}", facts.settings.cluster().id));
    line(text, format_args!("quorate_node:{}", facts.node));
    line(
        text,
        format_args!(
            "quorate_durability:memory: an acknowledged write is in the memory of a write quorum of processes"
        ),
    );
}

fn clients(text: &mut String, front: &Front, _: &Engine) {
    let shared = &front.shared;
    line(text, format_args!("connected_clients:{}", shared.clients.len()));
    line(text, format_args!("maxclients:{}", front.facts.settings.limits().clients_len_max));
    line(text, format_args!("blocked_clients:{}", shared.sum(|counters| &counters.under_way)));
}

fn memory(text: &mut String, front: &Front, _: &Engine) {
    let used = front.shared.sum(|counters| &counters.used_bytes);
    line(text, format_args!("used_memory:{used}"));
    line(text, format_args!("used_memory_dataset:{used}"));
    line(text, format_args!("maxmemory:{}", front.facts.settings.node().memory_bytes_max));
    line(text, format_args!("maxmemory_policy:noeviction"));
    line(text, format_args!("quorate_log_memory:{}", front.facts.settings.node().log_bytes));
}

fn stats(text: &mut String, front: &Front, _: &Engine) {
    let shared = &front.shared;
    line(text, format_args!("total_connections_received:{}", shared.sum(|counters| &counters.connections)));
    line(text, format_args!("total_commands_processed:{}", shared.sum(|counters| &counters.commands)));
    line(text, format_args!("quorate_engine_replies:{}", shared.sum(|counters| &counters.engine_replies)));
    line(text, format_args!("pubsub_channels:{}", shared.channels.len(super::pubsub::Kind::Channel)));
    line(text, format_args!("pubsub_patterns:{}", shared.channels.len(super::pubsub::Kind::Pattern)));
}

fn replication(text: &mut String, front: &Front, engine: &Engine) {
    let up = front.peers.states().filter(|(_, _, is_up)| *is_up).count();
    let commit = engine.status().iter().map(|group| group.commit.0).max().unwrap_or(0);
    line(text, format_args!("role:master"));
    line(text, format_args!("connected_slaves:{up}"));
    line(text, format_args!("master_repl_offset:{commit}"));
}

fn cpu(text: &mut String, _: &Front, _: &Engine) {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF);
    let Ok(usage) = usage else { return };
    let seconds = |time: nix::sys::time::TimeVal| format!("{}.{:06}", time.tv_sec(), time.tv_usec());
    line(text, format_args!("used_cpu_sys:{}", seconds(usage.system_time())));
    line(text, format_args!("used_cpu_user:{}", seconds(usage.user_time())));
}

fn cluster(text: &mut String, _: &Front, _: &Engine) {
    line(text, format_args!("cluster_enabled:1"));
}

fn keyspace(text: &mut String, front: &Front, _: &Engine) {
    let keys = front.shared.sum(|counters| &counters.keys);
    if keys > 0 {
        line(text, format_args!("db0:keys={keys},expires=0,avg_ttl=0"));
    }
}

fn io(text: &mut String, front: &Front, _: &Engine) {
    if let Some(choice) = front.shared.io.get() {
        line(text, format_args!("io_driver:{}", choice.driver));
        line(text, format_args!("io_reason:{}", choice.reason));
    }
    line(text, format_args!("io_cpus:{}", front.facts.cpu_count));
    line(text, format_args!("io_turns:{}", front.shared.sum(|counters| &counters.turns)));
    line(text, format_args!("io_cpu:{}", front.id));
}

fn core(text: &mut String, front: &Front, _: &Engine) {
    let nodes: Vec<String> = front.facts.settings.core_nodes().iter().map(ToString::to_string).collect();
    line(text, format_args!("core_nodes:{}", nodes.join(",")));
    let part = front.shared.exchange.core().part;
    line(text, format_args!("core_part:{}", part.word()));
    if let CorePart::Voting(era) = part {
        line(text, format_args!("core_era:{era}"));
    }
}

fn quorum(text: &mut String, front: &Front, engine: &Engine) {
    let groups = engine.status();
    let led = groups.iter().filter(|group| group.leader == front.facts.node);
    let serving = led.clone().filter(|group| group.state == GroupState::Serving).count();
    line(text, format_args!("quorum_replicas:{}", front.facts.placement.replicas()));
    line(text, format_args!("quorum_write_quorum:{}", front.facts.placement.write_quorum()));
    line(text, format_args!("quorum_groups_led_on_this_cpu:{}", led.count()));
    line(text, format_args!("quorum_groups_serving_on_this_cpu:{serving}"));
    line(
        text,
        format_args!("quorum_waiting_on_this_cpu:{}", groups.iter().map(|group| group.waiter_count).sum::<usize>()),
    );
}
