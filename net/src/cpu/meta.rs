//! What a reply tells of the log beside its answer: `CLIENT META`.
//!
//! A client that wants it gets an attribute before each reply that a group has given: group, epoch and index of the entry at which
//! a write was decided, or up to which a read has seen everything, and the loss generation. A reply put together from several
//! groups has no such place, and one that no group has given (a refusal, an answer of the node) neither.

use quorate_engine::ids::{Epoch, GroupId, LogIndex};

use crate::resp::Encoder;
use crate::wire::About;

use super::ending::Ending;

/// Where a reply stands in the log of a group, as far as is known while its answers come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meta {
    /// The client has not asked for it.
    Unwanted,
    /// No answer has come yet.
    Awaited,
    /// All answers so far come from one group: the latest place among them.
    At(Place),
    /// There is no single place.
    Nowhere,
}

/// A place in the log of a group. Of two the greater is the later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    group: GroupId,
    loss_gen: u64,
    epoch: Epoch,
    index: LogIndex,
}

impl Meta {
    /// Returns the beginning for a request of a client.
    pub(super) fn begin(is_wanted: bool) -> Self {
        if is_wanted { Self::Awaited } else { Self::Unwanted }
    }

    /// Adds an answer.
    pub(super) fn note(&mut self, ending: &Ending<'_>) {
        let place = match *ending {
            Ending::Done { about, loss_gen, index, .. } | Ending::Accepted { about, loss_gen, index }
                if about != About::NOTHING =>
            {
                Some(Place { group: about.group, loss_gen, epoch: about.epoch, index })
            }
            Ending::Done { .. } | Ending::Accepted { .. } | Ending::Failed(_) => None,
        };
        *self = match (*self, place) {
            (Self::Unwanted, _) => Self::Unwanted,
            (Self::Awaited, Some(place)) => Self::At(place),
            (Self::At(known), Some(place)) if known.group == place.group => Self::At(known.max(place)),
            (Self::Awaited | Self::At(_) | Self::Nowhere, _) => Self::Nowhere,
        };
    }

    /// Writes what goes before the reply. Cost: no allocation beside what `out` takes.
    pub(super) fn write(self, out: &mut Encoder<'_, Vec<u8>>) {
        let Self::At(Place { group, loss_gen, epoch, index }) = self else { return };
        if out.attribute(4) {
            for (name, value) in
                [("group", u64::from(group.0)), ("epoch", epoch.0), ("index", index.0), ("loss_gen", loss_gen)]
            {
                out.text(name);
                out.count(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Protocol;
    use crate::wire::RefusalCode;

    fn done(group: u32, epoch: u64, index: u64) -> Ending<'static> {
        let about = About { group: GroupId(group), epoch: Epoch(epoch) };
        Ending::Done { about, loss_gen: 7, index: LogIndex(index), answer: b"" }
    }

    fn written(endings: &[Ending<'_>], protocol: Protocol) -> String {
        let mut meta = Meta::begin(true);
        endings.iter().for_each(|ending| meta.note(ending));
        let mut bytes = Vec::new();
        meta.write(&mut Encoder::new(&mut bytes, protocol));
        String::from_utf8(bytes).expect("names and numbers")
    }

    #[test]
    fn a_reply_of_one_group_tells_its_latest_place() {
        let text = "|4\r\n$5\r\ngroup\r\n:3\r\n$5\r\nepoch\r\n:2\r\n$5\r\nindex\r\n:9\r\n$8\r\nloss_gen\r\n:7\r\n";
        assert_eq!(written(&[done(3, 2, 9)], Protocol::V3), text);
        assert_eq!(written(&[done(3, 2, 8), done(3, 2, 9), done(3, 1, 12)], Protocol::V3), text);
        assert_eq!(written(&[done(3, 2, 9)], Protocol::V2), "");
    }

    #[test]
    fn what_no_single_group_has_answered_tells_none() {
        let failed = || Ending::Failed(super::super::ending::Failed::never(RefusalCode::Unavailable, [0; 2], "X"));
        let of_the_node = Ending::Done { about: About::NOTHING, loss_gen: 0, index: LogIndex(0), answer: b"" };
        assert_eq!(written(&[done(3, 2, 9), done(4, 2, 9)], Protocol::V3), "");
        assert_eq!(written(&[done(3, 2, 9), failed()], Protocol::V3), "");
        assert_eq!(written(&[failed(), done(3, 2, 9)], Protocol::V3), "");
        assert_eq!(written(&[of_the_node], Protocol::V3), "");
        let mut unwanted = Meta::begin(false);
        unwanted.note(&done(3, 2, 9));
        assert_eq!(unwanted, Meta::Unwanted);
    }
}
