//! Who leads and holds each group, as the core has said last.

use std::sync::Arc;

use quorate_engine::config::GroupConfig;
use quorate_engine::control::record::News;
use quorate_engine::ids::{GroupId, NodeId, ReplicaId};

use crate::control::exchange::GroupNews;

/// Who executes requests for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// Nobody: the core has not formed it yet.
    Unformed,
    /// Nobody: the group cannot be led again without these members, which are gone.
    Lost(&'a [ReplicaId]),
    /// This node, or whoever takes over from it.
    Led(NodeId),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Directory {
    /// By number; `None` until the core has formed the group.
    groups: Vec<Option<GroupNews>>,
}

impl Directory {
    pub(super) fn new(group_count: u32) -> Self {
        Self { groups: vec![None; group_count as usize] }
    }

    pub(super) fn hear(&mut self, group: GroupId, news: GroupNews) {
        if let Some(known) = self.groups.get_mut(group.0 as usize) {
            *known = Some(news);
        }
    }

    fn get(&self, group: GroupId) -> Option<&GroupNews> {
        self.groups.get(group.0 as usize)?.as_ref()
    }

    pub(super) fn news(&self, group: GroupId) -> Option<&Arc<News>> {
        self.get(group).map(|known| &known.news)
    }

    /// Returns the configuration that is active.
    pub(super) fn active(&self, group: GroupId) -> Option<&GroupConfig> {
        self.news(group).map(|news| &news.active)
    }

    /// Returns how often it was accepted that writes of a group are lost.
    #[inline]
    pub(super) fn loss_gen(&self, group: GroupId) -> u64 {
        self.active(group).map_or(0, |config| config.loss_gen)
    }

    /// Returns who executes requests for a group.
    pub(super) fn route(&self, group: GroupId) -> Route<'_> {
        match self.get(group) {
            None => Route::Unformed,
            Some(known) if !known.missing.is_empty() => Route::Lost(&known.missing),
            Some(known) => Route::Led(known.news.active.leader),
        }
    }
}
