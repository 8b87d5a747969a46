//! "Did you mean …?": the known name nearest to an unknown one.

use strsim::damerau_levenshtein;

/// Returns the candidate nearest to `word`, if one is near enough to have been meant.
///
/// Near enough: at most a third of the longer word has to change, by inserting, dropping, replacing or exchanging
/// letters; case, `-` and `_` do not count. Of equals the first one wins. Words over 64 bytes match nothing, so that
/// hostile input costs little.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let word = plain(word);
    let distance = |candidate: &str| damerau_levenshtein(&word, &plain(candidate));
    candidates
        .into_iter()
        .map(|candidate| (distance(candidate), candidate))
        .filter(|(distance, candidate)| distance * 3 <= word.chars().count().max(candidate.chars().count()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Drops what people mix up without noticing.
fn plain(word: &str) -> String {
    word.to_ascii_lowercase().replace('-', "_")
}

const WORD_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_nonsense_finds_none() {
        let keys = ["log_memory", "memory_max", "id", "io"];
        for (word, found) in [
            ("log_memroy", Some("log_memory")),
            ("log-memory", Some("log_memory")),
            ("logmemory", Some("log_memory")),
            ("Memory_Max", Some("memory_max")),
            ("i", None),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys), found, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), keys), None);
    }
}
