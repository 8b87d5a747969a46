//! What sessions of RESP clients ask of the node.

use std::sync::atomic::Ordering;

use crate::clock;
use crate::resp::session::{AclLogEntry, ClientRecord, ConfigError, Password, Pause, RoleReport, ServerView, Settings};

use super::front::Front;

/// Refused logins that are kept, as in Redis.
const DENIALS_MAX: usize = 128;

/// See the module.
pub(super) struct View<'a> {
    front: &'a Front,
}

impl<'a> View<'a> {
    pub(super) fn new(front: &'a Front) -> Self {
        Self { front }
    }
}

impl ServerView for View<'_> {
    fn now_us(&self) -> u64 {
        clock::wall_clock_ns() / 1000
    }

    fn mode(&self) -> &'static str {
        "cluster"
    }

    fn role(&self) -> RoleReport {
        let peers = self.front.peers.states().filter(|(_, _, is_up)| *is_up).filter_map(|(node, _, _)| {
            let at = self.front.members.addresses(node)?;
            Some((at.host.clone(), at.resp_port, 0))
        });
        RoleReport::Leader { offset: 0, followers: peers.collect() }
    }

    fn password(&self) -> Option<Password> {
        *self.front.shared.password.read()
    }

    fn set_password(&mut self, password: Option<Password>) {
        *self.front.shared.password.write() = password;
    }

    fn visit_clients(&self, visit: &mut dyn FnMut(&ClientRecord)) {
        let mut ids: Vec<u64> = self.front.shared.clients.iter().map(|row| *row.key()).collect();
        ids.sort_unstable();
        for id in ids {
            if let Some(row) = self.front.shared.clients.get(&id) {
                visit(&row);
            }
        }
    }

    fn record_client(&mut self, record: &ClientRecord) {
        self.front.shared.clients.insert(record.id, record.clone());
    }

    fn close_clients(&mut self, asking: u64, is_meant: &dyn Fn(&ClientRecord) -> bool) -> usize {
        let shared = &self.front.shared;
        let meant = shared.clients.iter().filter(|row| *row.key() != asking && is_meant(row));
        let meant: Vec<u64> = meant.map(|row| *row.key()).collect();
        let count = meant.len();
        if count > 0 {
            shared.kills.lock().extend(meant);
            shared.kill_count.fetch_add(1, Ordering::Release);
            self.front.wake_others();
        }
        count
    }

    fn pause(&mut self, pause: Pause) {
        self.front.shared.pause(pause);
    }

    fn unpause(&mut self) {
        self.front.shared.unpause();
    }

    fn visit_settings(&self, visit: &mut dyn FnMut(&str, &str)) {
        let settings = &self.front.facts.settings;
        let password = settings.security().requirepass.as_ref().map_or("", |secret| secret.expose());
        visit("appendonly", "no");
        visit("save", "");
        visit("databases", "1");
        visit("maxclients", &settings.limits().clients_len_max.to_string());
        visit("maxmemory", &settings.node().memory_bytes_max.to_string());
        visit("maxmemory-policy", "noeviction");
        visit("port", &settings.listen().resp.port().to_string());
        visit("proto-max-bulk-len", &settings.limits().value_bytes_max.to_string());
        visit("requirepass", password);
        visit("timeout", "0");
        visit("cluster-enabled", "yes");
    }

    fn change_settings(&mut self, settings: Settings<'_>) -> Result<(), ConfigError> {
        // All or none: what cannot be changed is found before anything is.
        let mut password = None;
        for (name, value) in settings {
            match *name {
                "requirepass" => password = Some(*value),
                "appendonly" | "save" | "databases" | "maxclients" | "maxmemory" | "maxmemory-policy" | "port"
                | "proto-max-bulk-len" | "timeout" | "cluster-enabled" => {
                    return Err(ConfigError::Immutable { name: (*name).to_owned() });
                }
                _ => return Err(ConfigError::Unknown { name: (*name).to_owned() }),
            }
        }
        if let Some(password) = password {
            self.set_password((!password.is_empty()).then(|| Password::new(password)));
        }
        Ok(())
    }

    fn reset_statistics(&mut self) {
        for counters in self.front.shared.all_counters() {
            for counter in [&counters.commands, &counters.engine_replies, &counters.connections] {
                counter.store(0, Ordering::Relaxed);
            }
        }
    }

    fn record_denial(&mut self, entry: AclLogEntry) {
        let mut denials = self.front.shared.denials.lock();
        denials.push_front(entry);
        denials.truncate(DENIALS_MAX);
    }

    fn denials(&self, count: usize) -> Vec<AclLogEntry> {
        self.front.shared.denials.lock().iter().take(count).cloned().collect()
    }

    fn forget_denials(&mut self) {
        self.front.shared.denials.lock().clear();
    }
}
