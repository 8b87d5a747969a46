//! Where the consistent core stands, as its nodes say in their metrics.

use anyhow::{Context, Result, ensure};

/// What one node of the core says, or what all of them do together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which node leads it.
    pub leader: u16,
    /// The round of its consensus: grows with every election.
    pub round: u64,
    /// How many entries of its log are applied.
    pub applied: u64,
    /// How many messages about the log its nodes have said to each other.
    pub log_messages: u64,
    /// How many messages about what was decided its nodes have said to nodes.
    pub news_messages: u64,
    /// How many messages about what has happened its nodes have said to nodes.
    pub event_messages: u64,
}

impl Standing {
    /// Reads it from what one node says at `/metrics`.
    ///
    /// # Errors
    /// The node does not take part in the core, or knows no leader.
    pub fn read(metrics: &str) -> Result<Self> {
        let number = |name: &str| -> Result<u64> {
            let mut lines = metrics.lines().filter_map(|line| line.rsplit_once(' '));
            let (_, value) = lines.find(|(found, _)| *found == name).with_context(|| format!("no {name}"))?;
            // Counts of this size are whole there, too.
            let value: f64 = value.parse().with_context(|| format!("{name} is {value}"))?;
            let whole = format!("{value:.0}");
            Ok(whole.parse()?)
        };
        Ok(Self {
            leader: u16::try_from(number("quorate_core_leader")?)?,
            round: number("quorate_core_round")?,
            applied: number("quorate_core_applied_index")?,
            log_messages: number("quorate_core_messages_total{about=\"log\"}")?,
            news_messages: number("quorate_core_messages_total{about=\"news\"}")?,
            event_messages: number("quorate_core_messages_total{about=\"events\"}")?,
        })
    }

    /// Returns what all nodes of the core say together, if they say the same. `seen`: one for each, not empty.
    ///
    /// # Errors
    /// They do not agree, or not yet.
    pub fn agreed(seen: &[Self]) -> Result<Self> {
        let first = *seen.first().context("a core has nodes")?;
        let place = |standing: &Self| (standing.leader, standing.round, standing.applied);
        ensure!(seen.iter().all(|other| place(other) == place(&first)), "nodes of the core differ: {seen:?}");
        Ok(Self {
            log_messages: seen.iter().map(|standing| standing.log_messages).sum(),
            news_messages: seen.iter().map(|standing| standing.news_messages).sum(),
            event_messages: seen.iter().map(|standing| standing.event_messages).sum(),
            ..first
        })
    }

    /// Whether the core was led by the same node all the time since `earlier`: what it decides is proposed once then.
    #[must_use]
    pub fn is_led_as(&self, earlier: &Self) -> bool {
        (self.leader, self.round) == (earlier.leader, earlier.round)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "# HELP quorate_core_round The last round\n# TYPE quorate_core_round gauge\nquorate_core_round 3.0\n\
                           quorate_core_applied_index 1024.0\nquorate_core_messages_total{about=\"log\"} 12.0\n\
                           quorate_core_messages_total{about=\"election\"} 7.0\nquorate_core_messages_total{about=\"news\"} 5.0\n\
                           quorate_core_messages_total{about=\"events\"} 4.0\n\
                           quorate_core_leader 2.0\n# EOF\n";
    const STANDING: Standing =
        Standing { leader: 2, round: 3, applied: 1024, log_messages: 12, news_messages: 5, event_messages: 4 };

    #[test]
    fn a_standing_is_read_from_metrics_or_what_is_missing_is_named() {
        assert_eq!(Standing::read(METRICS).unwrap(), STANDING);
        let without = METRICS.replace("quorate_core_leader", "quorate_core_follower");
        assert_eq!(Standing::read(&without).unwrap_err().to_string(), "no quorate_core_leader");
    }

    #[test]
    fn nodes_agree_when_they_have_applied_the_same_under_the_same_leader() {
        let sum = Standing { log_messages: 24, news_messages: 10, event_messages: 8, ..STANDING };
        assert_eq!(Standing::agreed(&[STANDING, STANDING]).unwrap(), sum);
        for other in [
            Standing { applied: 1023, ..STANDING },
            Standing { leader: 1, ..STANDING },
            Standing { round: 4, ..STANDING },
        ] {
            assert!(Standing::agreed(&[STANDING, other]).is_err(), "{other:?}");
        }
        assert!(sum.is_led_as(&STANDING));
        assert!(
            !sum.is_led_as(&Standing { round: 2, ..STANDING }) && !sum.is_led_as(&Standing { leader: 1, ..STANDING })
        );
    }
}
