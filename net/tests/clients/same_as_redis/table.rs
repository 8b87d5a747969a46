//! The commands. Each section begins with keys that no other section uses.

/// Returns all lines, in the order they are sent.
pub(super) fn lines() -> impl Iterator<Item = &'static str> {
    let sections = [
        CONNECTION,
        STRINGS,
        SET_OPTIONS,
        COUNTERS,
        FLOATS,
        RANGES,
        SEVERAL,
        KEYS,
        EXPIRY,
        HASHES,
        HASH_COUNTERS,
        SCANS,
        TYPES,
        ARITY,
        UNKNOWN,
        REFUSED,
    ];
    sections.into_iter().flat_map(str::lines).map(str::trim).filter(|line| !line.is_empty())
}

const CONNECTION: &str = r#"
    PING
    PING hello
    PING ""
    ECHO "\x00\xff"
    SELECT 0
    SELECT x
    SELECT -1
    AUTH x
    AUTH default x
    HELLO 4
    HELLO x
    HELLO 3 AUTH
    HELLO 3 SETNAME
    CLIENT GETNAME
    CLIENT SETNAME "a b"
    CLIENT SETNAME me
    CLIENT GETNAME
    CLIENT SETNAME ""
    CLIENT GETNAME
    ? CLIENT ID
    CLIENT NO-EVICT x
    CLIENT REPLY x
    CLIENT NOSUCH
    CLIENT TRACKING x
    CLIENT KILL ID x
    CLIENT PAUSE x
    CLIENT UNPAUSE
    ? TIME
    ? ROLE
    ? INFO server
    ? COMMAND COUNT
    COMMAND GETKEYS GET k
    COMMAND GETKEYS MSET a 1 b 2
    COMMAND GETKEYS PING hello
    COMMAND GETKEYS NOSUCH a
    COMMAND GETKEYS GET a b
    COMMAND INFO nosuch
    COMMAND NOSUCH
    CONFIG GET nosuch
    CONFIG SET nosuch 1
    CONFIG NOSUCH
    ACL WHOAMI
    ACL NOSUCH
    DBSIZE
    WAIT x 0
    WAIT 0 x
    WAIT 0 -1
    WAIT x -1
    WAIT -1 x
    ? WAIT -1 1
    PUBLISH nobody hears
    SPUBLISH nobody hears
    PUBSUB CHANNELS
    PUBSUB NUMSUB
    PUBSUB NUMSUB a b
    PUBSUB NUMPAT
    PUBSUB NOSUCH
    CLUSTER KEYSLOT 123456789
    CLUSTER KEYSLOT {a}b
"#;

const STRINGS: &str = r#"
    GET s
    SET s v
    GET s
    SET s ""
    GET s
    SET s "\x00\r\n\xff"
    GET s
    STRLEN s
    STRLEN nothing
    SETNX s x
    SETNX s2 x
    SETNX s2 y
    GETSET s2 z
    GETSET s3 z
    GETDEL s3
    GETDEL s3
    APPEND s4 a
    APPEND s4 bc
    APPEND s4 ""
    GET s4
    APPEND s5 ""
    EXISTS s5
    GET s5
    TYPE s5
    SET "" empty
    GET ""
    DEL ""
    set S upper
    GeT S
    GET s
"#;

const SET_OPTIONS: &str = r#"
    SET o 1 NX
    SET o 2 NX
    SET o 2 XX
    SET o2 2 XX
    SET o 3 GET
    SET o2 3 GET
    SET o 4 NX GET
    SET o3 4 NX GET
    SET o3 5 XX GET
    GET o3
    SET o 5 xx get ex 100
    # PTTL o
    SET o 6 KEEPTTL
    # PTTL o
    SET o 7
    # TTL o
    SET o 8 PX 100000
    # PTTL o
    SET o 9 EXAT 4102444800
    EXPIRETIME o
    SET o 9 PXAT 4102444800123
    PEXPIRETIME o
    SET o 10 EX 10 PX 10
    SET o 10 EX
    SET o 10 EX x
    SET o 10 EX 0
    SET o 10 EX -1
    SET o 10 PX 0
    SET o 10 EX 9223372036854775807
    SET o 10 PX 9223372036854775807
    SET o 10 EXAT 0
    SET o 10 PXAT -5
    SET o 10 EX 10 KEEPTTL
    SET o 10 KEEPTTL EX 10
    SET o 10 NX XX
    SET o 10 XX NX
    SET o 10 NOSUCH
    SET o 10 NX NX
    SET o 10 EXAT 1
    GET o
    SET o 11
    GETEX o
    GETEX o EX 100
    # PTTL o
    GETEX o PX 100000
    # PTTL o
    GETEX o EXAT 4102444800
    EXPIRETIME o
    GETEX o PXAT 4102444800123
    PEXPIRETIME o
    GETEX o PERSIST
    # TTL o
    GETEX o PERSIST EX 1
    GETEX o EX
    GETEX o EX x
    GETEX o EX 0
    GETEX o NOSUCH
    GETEX nothing EX 10
    GETEX nothing EX 0
    GETEX nothing EX
    GETEX o PXAT 1
    GET o
    SETEX o 100 v
    # PTTL o
    PSETEX o 100000 v
    # PTTL o
    SETEX o 0 v
    SETEX o -1 v
    SETEX o x v
    SETEX o 9223372036854775807 v
    PSETEX o 0 v
    PSETEX o x v
    SET o 12 GET GET
"#;

const COUNTERS: &str = r#"
    INCR c
    INCRBY c 41
    DECR c
    DECRBY c 50
    GET c
    INCRBY c 0
    INCRBY c x
    INCRBY c 1.5
    INCRBY c ""
    INCRBY c " 1"
    INCRBY c +1
    INCRBY c 01
    INCRBY c 9223372036854775808
    SET c 9223372036854775807
    INCR c
    INCRBY c 1
    DECR c
    INCRBY c 1
    SET c -9223372036854775808
    DECR c
    DECRBY c 1
    INCRBY c -1
    DECRBY c -9223372036854775808
    DECRBY c 9223372036854775807
    GET c
    SET c text
    INCR c
    SET c " 1"
    INCR c
    SET c "1 "
    INCR c
    SET c ""
    INCR c
    SET c 01
    INCR c
    SET c -0
    INCR c
    SET c +1
    INCR c
    SET c 9223372036854775808
    INCR c
    SET c 1e3
    INCR c
    SET c 100000 EX 100
    INCR c
    # PTTL c
    DECRBY c x
"#;

const FLOATS: &str = r#"
    INCRBYFLOAT f 1
    INCRBYFLOAT f 0.5
    INCRBYFLOAT f -1.5
    INCRBYFLOAT f 3.0e3
    INCRBYFLOAT f 1e-5
    INCRBYFLOAT f 0.1
    INCRBYFLOAT f 0.2
    SET g 10.50
    INCRBYFLOAT g 0.1
    SET f 10.50
    INCRBYFLOAT f -5
    SET f 5.0e3
    INCRBYFLOAT f 2.0e2
    SET g 0.1
    INCRBYFLOAT g 0.2
    SET f 3
    INCRBYFLOAT f 1.000000000000000005
    GET f
    SET f 1
    INCRBYFLOAT f 1e17
    SET f 0
    INCRBYFLOAT f 1e20
    INCRBYFLOAT f x
    INCRBYFLOAT f ""
    INCRBYFLOAT f " 1"
    INCRBYFLOAT f "1 "
    INCRBYFLOAT f inf
    INCRBYFLOAT f -inf
    INCRBYFLOAT f nan
    SET f x
    INCRBYFLOAT f 1
    SET f "1 "
    INCRBYFLOAT f 1
    SET f 0.00000000000000001
    INCRBYFLOAT f 0.00000000000000001
    SET f -0.5
    INCRBYFLOAT f 0.5
    SET f 123456789.123456789
    INCRBYFLOAT f 0.000000001
    SET f 1.23
    INCRBYFLOAT f 1.11
    SET f 100 EX 100
    INCRBYFLOAT f 1.5
    # PTTL f
    INCRBYFLOAT f .5
    INCRBYFLOAT f 5.
    INCRBYFLOAT f +1
    INCRBYFLOAT f 0x10
"#;

const RANGES: &str = r#"
    SET r "Hello World"
    GETRANGE r 0 4
    GETRANGE r -5 -1
    GETRANGE r 0 -1
    GETRANGE r 5 1
    GETRANGE r 100 200
    GETRANGE r -100 3
    GETRANGE r -3 -100
    GETRANGE r 0 100
    GETRANGE r x 1
    GETRANGE r 0 9223372036854775808
    GETRANGE r -9223372036854775808 9223372036854775807
    GETRANGE nothing 0 -1
    SETRANGE r 6 Redis
    GET r
    SETRANGE r 15 end
    GET r
    SETRANGE r 0 ""
    SETRANGE r2 0 ""
    EXISTS r2
    SETRANGE r2 3 x
    GET r2
    SETRANGE r -1 x
    SETRANGE r x x
    SETRANGE r 536870912 x
    SETRANGE r 9223372036854775807 x
    SETRANGE r3 -1 ""
"#;

const SEVERAL: &str = r#"
    MSET {m}a 1 {m}b 2
    MGET {m}a {m}b {m}c
    MSET {m}a 3 {m}a 4
    GET {m}a
    MSET {m}a
    MSET {m}a 1 {m}b
    MGET {m}a {m}a
    DEL {m}a {m}a {m}b
    MSET {m}a 1 {m}b 2
    UNLINK {m}a {m}b {m}c
    SET ka 1
    SET kb 2
    SET kc 3
    MGET ka kb kc kd
    EXISTS ka kb kc kd
    EXISTS ka ka
    TOUCH ka kb kd
    DEL ka kb kd
    UNLINK kc kd
"#;

const KEYS: &str = r#"
    SET k v
    EXISTS k
    TYPE k
    TYPE nothing
    PERSIST k
    PERSIST nothing
    TTL k
    PTTL k
    TTL nothing
    PTTL nothing
    EXPIRETIME k
    EXPIRETIME nothing
    PEXPIRETIME k
    FLUSHALL
    DBSIZE
    RANDOMKEY
    SET only v
    RANDOMKEY
    KEYS *
    KEYS o?ly
    KEYS o[a-n]ly
    KEYS o[^a-m]ly
    KEYS O*
    KEYS "[z"
    KEYS ""
    KEYS "*\\*"
    SET user:1 a
    SET user:2 b
    ~ KEYS user:*
    ~ KEYS *
    ~ KEYS *:*
    DBSIZE
    FLUSHDB
    DBSIZE
    FLUSHALL ASYNC
    FLUSHALL SYNC
    FLUSHALL NOSUCH
    FLUSHDB ASYNC SYNC
"#;

const EXPIRY: &str = r#"
    EXPIRE e 100
    SET e v
    EXPIRE e 100
    # TTL e
    # PTTL e
    EXPIRE e 200 NX
    EXPIRE e 200 XX
    # TTL e
    EXPIRE e 100 GT
    EXPIRE e 300 GT
    EXPIRE e 400 LT
    EXPIRE e 50 LT
    # TTL e
    EXPIRE e 100 NX XX
    EXPIRE e 100 NX GT
    EXPIRE e 100 GT LT
    EXPIRE e 100 XX GT
    EXPIRE e 100 NOSUCH
    PERSIST e
    PERSIST e
    EXPIRE e 100 XX
    EXPIRE e 100 GT
    EXPIRE e 100 LT
    # TTL e
    PERSIST e
    EXPIRE e 100 NX
    PEXPIRE e 200000
    # TTL e
    EXPIREAT e 4102444800
    EXPIRETIME e
    PEXPIRETIME e
    PEXPIREAT e 4102444800999
    EXPIRETIME e
    PEXPIRETIME e
    EXPIREAT e 4102444800
    EXPIREAT e 4102444800 GT
    EXPIREAT e 4102444800 LT
    PEXPIREAT e 4102444800001 GT
    PEXPIREAT e 4102444800000 LT
    PEXPIREAT e 4102444800000 LT
    EXPIRE e x
    EXPIRE e 1.5
    EXPIRE e 9223372036854775807
    EXPIRE e -9223372036854775808
    EXPIREAT e 9223372036854775807
    PEXPIRE e 9223372036854775807
    PEXPIREAT e 9223372036854775808
    PEXPIREAT e x
    # TTL e
    EXPIRE e 0
    EXISTS e
    SET e v
    EXPIRE e -1
    EXISTS e
    SET e v
    PEXPIREAT e 1
    EXISTS e
    SET e v
    EXPIREAT e -1
    EXISTS e
    SET e v
    EXPIRE e 0 GT
    EXPIRE e 0 LT
    EXISTS e
    PSETEX e 30 v
    @ EXISTS e
    GET e
    # TTL e
    TYPE e
    INCR e
    DEL e
    HSET eh f v
    PEXPIRE eh 30
    @ EXISTS eh
    HGETALL eh
    HSET eh g w
    # TTL eh
    HGETALL eh
    SET ek v PX 30
    @ TOUCH ek
    SET ek w XX
    SET ek w NX
    EXPIRE nothing 10 GT
"#;

const HASHES: &str = r#"
    HGET h f
    HGETALL h
    HKEYS h
    HVALS h
    HLEN h
    HMGET h f g
    HEXISTS h f
    HDEL h f
    HSET h f v
    HSET h f w
    HSET h f 1 g 2 i 3
    HSET h f
    HSET h f 1 g
    HGET h f
    HGET h nothing
    HMGET h f nothing g f
    HEXISTS h f
    HEXISTS h nothing
    HLEN h
    ~ HGETALL h
    ~ HKEYS h
    ~ HVALS h
    HSETNX h f x
    HSETNX h j 4
    HGET h j
    HSET h "" empty
    HGET h ""
    HSET h "\x00" "\xff"
    HGET h "\x00"
    HDEL h "" "\x00"
    HDEL h f g nothing
    HDEL h f
    HDEL h i j
    EXISTS h
    TYPE h
    HSET h f 1 f 2
    HGETALL h
    TYPE h
    HMSET h a 1 b 2
    HGET h b
    HMSET h a 1 b
    HMSET h
    DEL h
    HSETNX h only v
    HGETALL h
    HSET h2 f v
    EXPIRE h2 100
    HSET h2 g v
    # TTL h2
    HDEL h2 f g
    HSET h2 f v
    # TTL h2
"#;

const HASH_COUNTERS: &str = r#"
    HINCRBY hc n 1
    HINCRBY hc n -5
    HINCRBY hc n x
    HINCRBY hc n 1.5
    HSET hc t text
    HINCRBY hc t 1
    HINCRBYFLOAT hc t 1
    HSET hc n 9223372036854775807
    HINCRBY hc n 1
    HSET hc n -9223372036854775808
    HINCRBY hc n -1
    HINCRBY hc n 9223372036854775807
    HINCRBYFLOAT hc f 1.5
    HINCRBYFLOAT hc f 1e3
    HINCRBYFLOAT hc f -0.1
    HINCRBYFLOAT hc f x
    HINCRBYFLOAT hc f inf
    HINCRBYFLOAT hc n 0.5
    HSET hc s " 1"
    HINCRBY hc s 1
    HINCRBYFLOAT hc s 1
    HSET hc s ""
    HINCRBY hc s 1
    HINCRBYFLOAT hc s 1
    HGET hc f
"#;

const SCANS: &str = r#"
    FLUSHALL
    * SCAN 0
    SET {scan}1 v
    SET {scan}2 v
    HSET {scan}h f v g w
    SCAN x
    SCAN -1
    SCAN 0 COUNT 0
    SCAN 0 COUNT x
    SCAN 0 COUNT
    SCAN 0 MATCH
    SCAN 0 NOSUCH
    SCAN 0 MATCH * NOSUCH 1
    ~ HSCAN {scan}h 0
    HSCAN {scan}h 0 MATCH f
    ~ HSCAN {scan}h 0 MATCH * COUNT 100
    HSCAN {scan}h 0 MATCH z*
    HSCAN nothing 0
    HSCAN {scan}h x
    HSCAN {scan}h 0 COUNT 0
    HSCAN {scan}h 0 COUNT x
    HSCAN {scan}h 0 NOSUCH
    HSCAN {scan}1 0
    * SCAN 0
    * SCAN 0 COUNT 1
    * SCAN 0 COUNT 1000
    * SCAN 0 COUNT 1000 MATCH *1
    * SCAN 0 COUNT 1000 TYPE hash
    * SCAN 0 COUNT 1000 TYPE string
    * SCAN 0 COUNT 1000 TYPE list
    * SCAN 0 COUNT 1000 TYPE nosuch
"#;

const TYPES: &str = r#"
    SET wt v
    HSET wh f v
    HGET wt f
    HSET wt f v
    HSETNX wt f v
    HMGET wt f
    HGETALL wt
    HKEYS wt
    HVALS wt
    HLEN wt
    HEXISTS wt f
    HDEL wt f
    HINCRBY wt f 1
    HINCRBY wt f x
    HINCRBYFLOAT wt f 1
    HINCRBYFLOAT wt f x
    GET wh
    SET wh v NX
    SET wh v GET
    SET wh v NX GET
    SET wh v XX GET
    GETSET wh v
    GETDEL wh
    GETEX wh
    GETEX wh EX 10
    GETEX wh EX 0
    GETRANGE wh 0 1
    SETRANGE wh 0 v
    SETRANGE wh 0 ""
    SETRANGE wh -1 v
    STRLEN wh
    APPEND wh v
    INCR wh
    INCRBY wh 1
    INCRBY wh x
    INCRBYFLOAT wh 1
    INCRBYFLOAT wh x
    SETNX wh v
    MGET wt wh
    HMSET wt f v
    TYPE wh
    SET wh v
    TYPE wh
    HGET wh f
"#;

const ARITY: &str = r#"
    GET
    GET a b
    SET
    SET a
    DEL
    EXISTS
    MGET
    MSET
    INCR
    INCR a b
    INCRBY a
    INCRBYFLOAT a
    APPEND a
    STRLEN
    GETRANGE a 0
    SETRANGE a 0
    SETEX a 1
    GETEX
    EXPIRE a
    TTL
    TTL a b
    PERSIST
    TYPE
    KEYS
    SCAN
    HSET h
    HSET h f
    HGET h
    HGETALL
    HGETALL h f
    HMGET h
    HDEL h
    HINCRBY h f
    HSCAN h
    ECHO
    ECHO a b
    PING a b
    SELECT
    PUBLISH a
    CLIENT
    CLIENT SETNAME
    CLIENT ID x
    CONFIG
    CONFIG GET
    COMMAND GETKEYS
    COMMAND COUNT x
    ACL
    CLUSTER
    CLUSTER KEYSLOT
    PUBSUB
    TIME x
    DBSIZE x
    WAIT 1
    TOUCH
    RANDOMKEY x
    SUBSCRIBE
    get
    hset h
    client setname
"#;

const UNKNOWN: &str = r#"
    NOSUCH
    NOSUCH a b
    nosuch "a b" ""
    NOSUCH 0123456789012345678901234567890123456789012345678901234567890123456789 0123456789012345678901234567890123456789012345678901234567890123456789 0123456789
    NOSUCH "a\r\nb"
    ""
    "" a
    "NO\r\nSUCH"
"#;

/// Behind everything else: Redis does these, and its data is another afterwards.
const REFUSED: &str = r#"
    LPUSH l v
    SADD s v
    ZADD z 1 v
    XADD x * f v
    SETBIT b 1 1
    GEOADD g 1 1 m
    PFADD p v
    EVAL "return 1" 0
    MULTI
    DISCARD
    SELECT 1
    MSET a 1 b 2
    SET k v
    RENAME k k2
    COPY k k2
    OBJECT ENCODING k2
    MSETNX {m}x 1 {m}y 2
    HSET hash f v
    HSTRLEN hash f
    HRANDFIELD hash
    SUBSTR k2 0 3
    READONLY
    READWRITE
    ASKING
"#;
