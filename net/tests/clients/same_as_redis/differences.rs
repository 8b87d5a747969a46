//! What is meant to differ from Redis.

/// One line of the table whose reply is not that of Redis.
#[derive(Debug)]
pub(super) struct Difference {
    /// The line, without its mark.
    pub(super) line: &'static str,
    /// What we say begins so.
    ours: &'static str,
    /// Why that is better, or as good.
    pub(super) why: &'static str,
}

impl Difference {
    pub(super) fn is_met_by(&self, ours: &[u8]) -> bool {
        ours.starts_with(self.ours.as_bytes())
    }
}

const fn row(line: &'static str, ours: &'static str, why: &'static str) -> Difference {
    Difference { line, ours, why }
}

/// All of them.
pub(super) const DIFFERENCES: &[Difference] = &[
    // Slots.
    row("CLUSTER KEYSLOT 123456789", ":12739\r\n", IS_A_CLUSTER),
    row("CLUSTER KEYSLOT {a}b", ":15495\r\n", IS_A_CLUSTER),
    row("MSET a 1 b 2", "-CROSSSLOT Keys in request don't hash to the same slot\r\n", IS_A_CLUSTER),
    row("SELECT 1", "-ERR DB index is out of range\r\n", IS_A_CLUSTER),
    row("READONLY", "-ERR READONLY is not supported: any node answers", IS_A_CLUSTER),
    row("READWRITE", "-ERR READWRITE is not supported: any node answers", IS_A_CLUSTER),
    row("ASKING", "-ERR ASKING is not supported: any node answers", IS_A_CLUSTER),
    row("SCAN -1", "-ERR invalid cursor\r\n", "Redis takes it for 2^64 - 1, which it never gives out"),
    // Limits.
    row("SETRANGE r 536870912 x", "-ERR value of 536870913 bytes is larger than the limit of ", NAMES_ITS_LIMIT),
    row("SETRANGE r 9223372036854775807 x", "-ERR value of 9223372036854775808 bytes is larger than ", NAMES_ITS_LIMIT),
    // Decimal fractions.
    row("INCRBYFLOAT f 1e-5", "$10\r\n3000.00001\r\n", SAME_ON_EVERY_PROCESSOR),
    row("INCRBYFLOAT f 0.1", "$10\r\n3000.10001\r\n", SAME_ON_EVERY_PROCESSOR),
    row("INCRBYFLOAT f 0.2", "$10\r\n3000.30001\r\n", SAME_ON_EVERY_PROCESSOR),
    row("INCRBYFLOAT g 0.2", "$19\r\n0.30000000000000004\r\n", SAME_ON_EVERY_PROCESSOR),
    row("INCRBYFLOAT f 1.000000000000000005", "$1\r\n4\r\n", SAME_ON_EVERY_PROCESSOR),
    row("GET f", "$1\r\n4\r\n", SAME_ON_EVERY_PROCESSOR),
    row("INCRBYFLOAT f 1e17", "$18\r\n100000000000000000\r\n", SAME_ON_EVERY_PROCESSOR),
    row("INCRBYFLOAT f 0.000000001", "$18\r\n123456789.12345679\r\n", SAME_ON_EVERY_PROCESSOR),
    row("HINCRBYFLOAT hc f -0.1", "$6\r\n1001.4\r\n", SAME_ON_EVERY_PROCESSOR),
    row("HGET hc f", "$6\r\n1001.4\r\n", SAME_ON_EVERY_PROCESSOR),
    row("INCRBYFLOAT f 0x10", "-ERR value is not a valid float\r\n", "numbers are decimal, as they are for INCRBY"),
    // Arguments.
    row("INCRBYFLOAT wh x", "-ERR value is not a valid float\r\n", CHECKED_BEFORE_THE_LOG),
    row("GETEX nothing EX 0", "-ERR invalid expire time in 'getex' command\r\n", CHECKED_BEFORE_THE_LOG),
    row("GETEX wh EX 0", "-ERR invalid expire time in 'getex' command\r\n", CHECKED_BEFORE_THE_LOG),
    // What is refused, each with what to do instead.
    row("LPUSH l v", "-ERR LPUSH is not supported: there are no lists; ", REFUSED_WITH_ADVICE),
    row("SADD s v", "-ERR SADD is not supported: there are no sets; ", REFUSED_WITH_ADVICE),
    row("ZADD z 1 v", "-ERR ZADD is not supported: there are no sorted sets; ", REFUSED_WITH_ADVICE),
    row("XADD x * f v", "-ERR XADD is not ", REFUSED_WITH_ADVICE),
    row("SETBIT b 1 1", "-ERR SETBIT is not supported: ", REFUSED_WITH_ADVICE),
    row("GEOADD g 1 1 m", "-ERR GEOADD is not supported: ", REFUSED_WITH_ADVICE),
    row("PFADD p v", "-ERR PFADD is not supported: ", REFUSED_WITH_ADVICE),
    row("EVAL \"return 1\" 0", "-ERR EVAL is not supported: there are no scripts; ", REFUSED_WITH_ADVICE),
    row("MULTI", "-ERR MULTI is not ", REFUSED_WITH_ADVICE),
    row("DISCARD", "-ERR DISCARD is not ", REFUSED_WITH_ADVICE),
    row("RENAME k k2", "-ERR RENAME is not supported: keys do not move; ", REFUSED_WITH_ADVICE),
    row("COPY k k2", "-ERR COPY is not supported: keys do not move; ", REFUSED_WITH_ADVICE),
    row("OBJECT ENCODING k2", "-ERR OBJECT is not supported: use TYPE", REFUSED_WITH_ADVICE),
    row("MSETNX {m}x 1 {m}y 2", "-ERR MSETNX is not supported: use SET with NX", REFUSED_WITH_ADVICE),
    row("HSTRLEN hash f", "-ERR HSTRLEN is not supported: use HGET\r\n", REFUSED_WITH_ADVICE),
    row("HRANDFIELD hash", "-ERR HRANDFIELD is not supported: use HKEYS or HSCAN\r\n", REFUSED_WITH_ADVICE),
    row("SUBSTR k2 0 3", "-ERR SUBSTR is not supported: use GETRANGE\r\n", REFUSED_WITH_ADVICE),
];

const IS_A_CLUSTER: &str = "keys live in slots of several nodes, and this redis-server is alone";
const NAMES_ITS_LIMIT: &str = "the limit is ours, and the text says it and which setting it is";
const SAME_ON_EVERY_PROCESSOR: &str = "sums are IEEE doubles with their shortest digits, so that replicas on different processors \
    agree; Redis uses the long double of its own processor and prints 17 digits";
const CHECKED_BEFORE_THE_LOG: &str = "what is wrong whatever the key holds is said before the log is asked";
const REFUSED_WITH_ADVICE: &str = "it does not exist here";
