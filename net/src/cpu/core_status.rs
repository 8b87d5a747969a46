//! `CORE STATUS`: the consistent core and the nodes of the cluster, as this node knows them.

use quorate_engine::ids::NodeId;
use serde_json::{Value, json};

use crate::control::exchange::CorePart;
use crate::resp::Args;
use crate::transport::ConnId;

use super::events::{SYNTAX, write_value};
use super::front::Front;

impl Front {
    /// `CORE STATUS [JSON]`. It asks nobody: what the control thread has left here is told, which may be behind.
    pub(super) fn serve_core_status(&mut self, conn: ConnId, args: Args<'_>) {
        let is_json = match args.get(2) {
            None => false,
            Some(word) if word.eq_ignore_ascii_case(b"json") && args.len() == 3 => true,
            Some(_) => return self.reply_now(conn, |out| out.error(SYNTAX)),
        };
        let status = self.core_status();
        self.reply_now(conn, |out| if is_json { out.text(&status.to_string()) } else { write_value(&status, out) });
    }

    fn core_status(&self) -> Value {
        let exchange = &self.shared.exchange;
        let core = exchange.core();
        let era = match core.part {
            CorePart::Voting(era) => Some(era),
            CorePart::None | CorePart::Meeting | CorePart::Joining | CorePart::Restoring => None,
        };
        let runs = exchange.nodes();
        // Only who votes knows all there are; any other may have missed what was said before it came.
        let unheard = if era.is_some() { "unregistered" } else { "unknown" };
        let node = |node: NodeId| match runs.get(&node) {
            Some(run) => json!({
                "node": node.0,
                "incarnation": run.incarnation.0,
                "state": if run.is_up { "up" } else { "down" },
            }),
            None => json!({ "node": node.0, "incarnation": null, "state": unheard }),
        };
        let nodes: Vec<Value> = self.members.nodes().map(|(id, _)| node(id)).collect();
        let groups = || self.facts.groups().filter(|group| self.directory.news(*group).is_some());
        let (first, next) = {
            let journal = exchange.journal();
            (journal.first(), journal.next())
        };
        json!({
            "node": self.facts.node.0,
            "part": core.part.word(),
            "era": era,
            "hears_majority": core.log.map(|log| log.hears_majority),
            "leader": core.leader.map(|leader| leader.0),
            "core_nodes": self.facts.settings.core_nodes().iter().map(|node| node.0).collect::<Vec<u16>>(),
            "nodes": nodes,
            "groups": groups().count(),
            "loss_gen": groups().map(|group| self.directory.loss_gen(group)).max().unwrap_or(0),
            "first_event": first,
            "last_event": next - 1,
        })
    }
}
