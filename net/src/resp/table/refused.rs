//! Commands that clients know and we do not have: what to do instead.
//!
//! A bare "unknown command" sends its reader to a search engine; one sentence here tells what takes its place. Commands
//! of ours that are designed but not built are refused by name too, so nobody takes a plan for a feature.

use super::Reject;

/// Commands that are refused for one reason.
#[derive(Clone, Copy, Debug)]
pub struct RefusedFamily {
    /// Lower case, as in the protocol.
    pub names: &'static [&'static str],
    /// What to do instead; ends the error text.
    pub instead: &'static str,
}

/// Tells why a name that is not in the table is not executed.
pub(super) fn explain(name: &[u8]) -> Reject {
    let is_name = |known: &&str| known.as_bytes().eq_ignore_ascii_case(name);
    if let Some(family) = REFUSED.iter().find(|family| family.names.iter().any(is_name)) {
        return Reject::NotSupported(family);
    }
    if CROSS_PROTOCOL.iter().any(is_name) {
        return Reject::CrossProtocol;
    }
    let family_len = name.iter().position(|&byte| byte == b'.').unwrap_or(name.len());
    let is_family = |known: &&str| known.as_bytes().eq_ignore_ascii_case(&name[..family_len]);
    if NOT_BUILT_FAMILIES.iter().any(is_family) { Reject::NotBuilt } else { Reject::Unknown }
}

/// Families of ours that are designed and not built: `LEASE.GRANT`, `JOB LIST`.
pub const NOT_BUILT_FAMILIES: &[&str] = &[
    "sm",
    "coherence",
    "sink",
    "lease",
    "partition",
    "event",
    "vv",
    "quorum",
    "request",
    "core",
    "waitlist",
    "job",
    "trace",
];

/// Everything Redis has that is refused with advice.
pub const REFUSED: &[RefusedFamily] = &[
    RefusedFamily {
        names: &[
            "blmove",
            "blmpop",
            "blpop",
            "brpop",
            "brpoplpush",
            "lindex",
            "linsert",
            "llen",
            "lmove",
            "lmpop",
            "lpop",
            "lpos",
            "lpush",
            "lpushx",
            "lrange",
            "lrem",
            "lset",
            "ltrim",
            "rpop",
            "rpoplpush",
            "rpush",
            "rpushx",
        ],
        instead: "there are no lists; use a hash with numbered fields, or one key for each element with a common {tag}",
    },
    RefusedFamily {
        names: &[
            "sadd",
            "scard",
            "sdiff",
            "sdiffstore",
            "sinter",
            "sintercard",
            "sinterstore",
            "sismember",
            "smembers",
            "smismember",
            "smove",
            "spop",
            "srandmember",
            "srem",
            "sscan",
            "sunion",
            "sunionstore",
        ],
        instead: "there are no sets; use a hash whose fields are the members (HSET, HEXISTS, HKEYS, HDEL)",
    },
    RefusedFamily {
        names: &[
            "bzmpop",
            "bzpopmax",
            "bzpopmin",
            "zadd",
            "zcard",
            "zcount",
            "zdiff",
            "zdiffstore",
            "zincrby",
            "zinter",
            "zintercard",
            "zinterstore",
            "zlexcount",
            "zmpop",
            "zmscore",
            "zpopmax",
            "zpopmin",
            "zrandmember",
            "zrange",
            "zrangebylex",
            "zrangebyscore",
            "zrangestore",
            "zrank",
            "zrem",
            "zremrangebylex",
            "zremrangebyrank",
            "zremrangebyscore",
            "zrevrange",
            "zrevrangebylex",
            "zrevrangebyscore",
            "zrevrank",
            "zscan",
            "zscore",
            "zunion",
            "zunionstore",
        ],
        instead: "there are no sorted sets; keep scores in a hash (HINCRBY, HINCRBYFLOAT) and order them where they are shown",
    },
    RefusedFamily {
        names: &[
            "geoadd",
            "geodist",
            "geohash",
            "geopos",
            "georadius",
            "georadius_ro",
            "georadiusbymember",
            "georadiusbymember_ro",
            "geosearch",
            "geosearchstore",
        ],
        instead: "there is no geographic index; keep positions in a hash",
    },
    RefusedFamily {
        names: &["bitcount", "bitfield", "bitfield_ro", "bitop", "bitpos", "getbit", "setbit"],
        instead: "there are no bitmaps; use SETRANGE and GETRANGE on whole bytes, or a hash field for each flag",
    },
    RefusedFamily {
        names: &["pfadd", "pfcount", "pfdebug", "pfmerge", "pfselftest"],
        instead: "there are no estimated counts; count exactly with INCR, or keep the members as fields of a hash",
    },
    RefusedFamily {
        names: &[
            "xack",
            "xadd",
            "xautoclaim",
            "xclaim",
            "xdel",
            "xgroup",
            "xinfo",
            "xlen",
            "xpending",
            "xrange",
            "xread",
            "xreadgroup",
            "xrevrange",
            "xsetid",
            "xtrim",
        ],
        instead: "streams are not built yet; use numbered keys with a common {tag} and INCR for the number",
    },
    RefusedFamily {
        names: &["eval", "eval_ro", "evalsha", "evalsha_ro", "fcall", "fcall_ro", "function", "script"],
        instead: "there are no scripts; every command is atomic, SET takes NX, XX and GET, MSET sets the keys of one slot at once",
    },
    RefusedFamily {
        names: &["multi", "exec", "discard", "watch", "unwatch"],
        instead: "transactions are not built yet; every command is atomic, and MSET sets the keys of one slot at once",
    },
    RefusedFamily { names: &["sort", "sort_ro"], instead: "nothing is sorted here; sort where the result is shown" },
    RefusedFamily { names: &["move", "swapdb"], instead: "there is one database, 0; use prefixes of keys" },
    RefusedFamily {
        names: &["copy", "rename", "renamenx", "dump", "restore", "restore-asking", "migrate"],
        instead: "keys do not move; read the value, write it under the new key (SET with NX if it must be new), then DEL",
    },
    RefusedFamily { names: &["hstrlen"], instead: "use HGET" },
    RefusedFamily { names: &["hrandfield"], instead: "use HKEYS or HSCAN" },
    RefusedFamily { names: &["substr"], instead: "use GETRANGE" },
    RefusedFamily { names: &["msetnx"], instead: "use SET with NX on one key that decides for the others" },
    RefusedFamily { names: &["lcs"], instead: "compare the values where they are used" },
    RefusedFamily {
        names: &["waitaof"],
        instead: "data is held in the memory of a quorum; use WAIT for further replicas",
    },
    RefusedFamily {
        names: &["save", "bgsave", "bgrewriteaof", "lastsave"],
        instead: "data is held in the memory of a quorum, and nothing is saved to a file by command",
    },
    RefusedFamily {
        names: &["replicaof", "slaveof", "psync", "sync", "replconf", "failover", "sentinel"],
        instead: "nodes replicate by quorum among the peers of their configuration file",
    },
    RefusedFamily {
        names: &["readonly", "readwrite", "asking"],
        instead: "any node answers for every slot and reads are linearizable; CACHE.PEEK reads what this node has applied",
    },
    RefusedFamily { names: &["monitor", "slowlog", "latency"], instead: "use INFO commandstats and quorate status" },
    RefusedFamily { names: &["memory"], instead: "use INFO memory" },
    RefusedFamily { names: &["object"], instead: "use TYPE, STRLEN, HLEN and PTTL" },
    RefusedFamily { names: &["module"], instead: "there are no modules" },
    RefusedFamily { names: &["shutdown"], instead: "send SIGTERM to the process" },
    RefusedFamily { names: &["lolwut"], instead: "use INFO server for the version" },
];

/// The words of an HTTP request that are not commands.
const CROSS_PROTOCOL: &[&str] = &["post", "host:"];
