//! `quorate core status`: the consistent core and the nodes of the cluster, as one node knows them.

use serde_json::Value;

use crate::cli::status::ask::Reply;

/// Returns what a node says, as the JSON it is or as a page for people.
pub(super) fn page(reply: &Reply, is_json: bool) -> String {
    let Reply::Bulk(text) = reply else { return super::text_of(reply) };
    match serde_json::from_slice(text) {
        Ok(status) if !is_json => for_people(&status),
        _ => String::from_utf8_lossy(text).into_owned(),
    }
}

fn for_people(status: &Value) -> String {
    let part = match status["part"].as_str() {
        Some("voting") => "votes in the consistent core",
        Some("joining") => "belongs to the consistent core and does not vote: it has lost its disk",
        Some("meeting") => "waits for the other nodes of the consistent core: the cluster is new",
        _ => "does not belong to the consistent core",
    };
    let core: Vec<String> = status["core_nodes"].as_array().into_iter().flatten().map(Value::to_string).collect();
    let leader = status["leader"].as_u64().map_or("unknown here".to_owned(), |leader| format!("node {leader}"));
    let mut lines = vec![
        format!("node {} {part}", status["node"]),
        format!("core     nodes {}, leader {leader}{}", core.join(" "), era(&status["era"])),
        format!("groups   {}, largest loss generation {}", status["groups"], status["loss_gen"]),
        format!("events   {} to {} are kept here", status["first_event"], status["last_event"]),
    ];
    if status["hears_majority"] == false {
        let line =
            "fewer than a majority of the core are heard: nothing can be decided, and what follows was so before";
        lines.push(line.to_owned());
    }
    for node in status["nodes"].as_array().into_iter().flatten() {
        let run = node["incarnation"].as_u64().map_or(String::new(), |incarnation| format!(".{incarnation}"));
        lines.push(format!("node {}{run}  {}", node["node"], node["state"].as_str().unwrap_or_default()));
    }
    lines.join("\n")
}

fn era(era: &Value) -> String {
    era.as_u64().map_or(String::new(), |era| format!(", era {era}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_old_is_said() {
        let page = |word: &str| {
            let status = r#"{"node":1,"part":"voting","era":1,"leader":2,"core_nodes":[1,2,3],"nodes":[],"hears_majority":WORD}"#;
            page(&Reply::Bulk(status.replace("WORD", word).into_bytes()), false)
        };
        assert!(page("false").contains("nothing can be decided"), "{}", page("false"));
        assert!(["true", "null"].into_iter().all(|word| !page(word).contains("nothing can be decided")));
    }

    #[test]
    fn what_is_not_known_is_said() {
        let status = r#"{"node":4,"part":"none","era":null,"leader":null,"core_nodes":[1,2,3],"groups":8,"loss_gen":1,
            "first_event":1,"last_event":12,
            "nodes":[{"node":1,"incarnation":7,"state":"down"},{"node":4,"incarnation":null,"state":"unknown"}]}"#;
        let page = page(&Reply::Bulk(status.as_bytes().to_vec()), false);
        let lines: Vec<&str> = page.lines().collect();
        assert_eq!(
            lines,
            [
                "node 4 does not belong to the consistent core",
                "core     nodes 1 2 3, leader unknown here",
                "groups   8, largest loss generation 1",
                "events   1 to 12 are kept here",
                "node 1.7  down",
                "node 4  unknown",
            ]
        );
    }
}
