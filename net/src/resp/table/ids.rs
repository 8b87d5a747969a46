//! A name for each command that code can match on.

/// Declares the identifiers, each with the command it stands for.
macro_rules! command_ids {
    ($($id:ident = $name:literal,)*) => {
        /// Names a command, or a subcommand of one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum CommandId {
            $(
                #[doc = concat!("`", $name, "`")]
                $id,
            )*
        }

        impl CommandId {
            /// Every identifier, in order.
            pub const ALL: &'static [Self] = &[$(Self::$id),*];

            /// How many there are; `id as usize` is below it, so arrays can be indexed by identifier.
            pub const COUNT: usize = Self::ALL.len();
        }
    };
}

command_ids! {
    // Connection.
    Hello = "HELLO",
    Auth = "AUTH",
    Ping = "PING",
    Echo = "ECHO",
    Quit = "QUIT",
    Reset = "RESET",
    Select = "SELECT",
    Client = "CLIENT",
    ClientCaching = "CLIENT CACHING",
    ClientGetname = "CLIENT GETNAME",
    ClientHelp = "CLIENT HELP",
    ClientId = "CLIENT ID",
    ClientInfo = "CLIENT INFO",
    ClientKill = "CLIENT KILL",
    ClientList = "CLIENT LIST",
    ClientNoEvict = "CLIENT NO-EVICT",
    ClientNoTouch = "CLIENT NO-TOUCH",
    ClientPause = "CLIENT PAUSE",
    ClientReply = "CLIENT REPLY",
    ClientSetinfo = "CLIENT SETINFO",
    ClientSetname = "CLIENT SETNAME",
    ClientTracking = "CLIENT TRACKING",
    ClientTrackinginfo = "CLIENT TRACKINGINFO",
    ClientUnpause = "CLIENT UNPAUSE",
    // Server.
    Command = "COMMAND",
    CommandCount = "COMMAND COUNT",
    CommandDocs = "COMMAND DOCS",
    CommandGetkeys = "COMMAND GETKEYS",
    CommandHelp = "COMMAND HELP",
    CommandInfo = "COMMAND INFO",
    CommandList = "COMMAND LIST",
    Info = "INFO",
    Config = "CONFIG",
    ConfigGet = "CONFIG GET",
    ConfigHelp = "CONFIG HELP",
    ConfigResetstat = "CONFIG RESETSTAT",
    ConfigSet = "CONFIG SET",
    Acl = "ACL",
    AclCat = "ACL CAT",
    AclGetuser = "ACL GETUSER",
    AclHelp = "ACL HELP",
    AclList = "ACL LIST",
    AclLog = "ACL LOG",
    AclSetuser = "ACL SETUSER",
    AclWhoami = "ACL WHOAMI",
    Time = "TIME",
    Role = "ROLE",
    Dbsize = "DBSIZE",
    Flushdb = "FLUSHDB",
    Flushall = "FLUSHALL",
    // Cluster.
    Cluster = "CLUSTER",
    ClusterHelp = "CLUSTER HELP",
    ClusterInfo = "CLUSTER INFO",
    ClusterKeyslot = "CLUSTER KEYSLOT",
    ClusterMyid = "CLUSTER MYID",
    ClusterNodes = "CLUSTER NODES",
    ClusterSlots = "CLUSTER SLOTS",
    // Strings.
    Get = "GET",
    Set = "SET",
    Setnx = "SETNX",
    Setex = "SETEX",
    Psetex = "PSETEX",
    Getset = "GETSET",
    Getdel = "GETDEL",
    Getex = "GETEX",
    Getrange = "GETRANGE",
    Setrange = "SETRANGE",
    Strlen = "STRLEN",
    Append = "APPEND",
    Mget = "MGET",
    Mset = "MSET",
    Incr = "INCR",
    Decr = "DECR",
    Incrby = "INCRBY",
    Decrby = "DECRBY",
    Incrbyfloat = "INCRBYFLOAT",
    // Keys.
    Del = "DEL",
    Unlink = "UNLINK",
    Exists = "EXISTS",
    Touch = "TOUCH",
    Type = "TYPE",
    Expire = "EXPIRE",
    Pexpire = "PEXPIRE",
    Expireat = "EXPIREAT",
    Pexpireat = "PEXPIREAT",
    Expiretime = "EXPIRETIME",
    Pexpiretime = "PEXPIRETIME",
    Ttl = "TTL",
    Pttl = "PTTL",
    Persist = "PERSIST",
    Keys = "KEYS",
    Scan = "SCAN",
    Randomkey = "RANDOMKEY",
    Wait = "WAIT",
    // Hashes.
    Hset = "HSET",
    Hmset = "HMSET",
    Hsetnx = "HSETNX",
    Hget = "HGET",
    Hmget = "HMGET",
    Hgetall = "HGETALL",
    Hkeys = "HKEYS",
    Hvals = "HVALS",
    Hscan = "HSCAN",
    Hdel = "HDEL",
    Hincrby = "HINCRBY",
    Hincrbyfloat = "HINCRBYFLOAT",
    Hlen = "HLEN",
    Hexists = "HEXISTS",
    // Publish and subscribe.
    Subscribe = "SUBSCRIBE",
    Unsubscribe = "UNSUBSCRIBE",
    Psubscribe = "PSUBSCRIBE",
    Punsubscribe = "PUNSUBSCRIBE",
    Ssubscribe = "SSUBSCRIBE",
    Sunsubscribe = "SUNSUBSCRIBE",
    Publish = "PUBLISH",
    Spublish = "SPUBLISH",
    Pubsub = "PUBSUB",
    PubsubChannels = "PUBSUB CHANNELS",
    PubsubHelp = "PUBSUB HELP",
    PubsubNumpat = "PUBSUB NUMPAT",
    PubsubNumsub = "PUBSUB NUMSUB",
    PubsubShardchannels = "PUBSUB SHARDCHANNELS",
    PubsubShardnumsub = "PUBSUB SHARDNUMSUB",
    // Ours.
    CachePeek = "CACHE.PEEK",
    Core = "CORE",
    CoreAcceptloss = "CORE ACCEPTLOSS",
    CoreEvents = "CORE EVENTS",
    CoreGet = "CORE.GET",
    CoreHelp = "CORE HELP",
    CoreReplace = "CORE REPLACE",
    CoreSet = "CORE.SET",
    CoreWatch = "CORE.WATCH",
    Log = "LOG",
    LogDigest = "LOG DIGEST",
    LogHelp = "LOG HELP",
    LogStatus = "LOG STATUS",
    Node = "NODE",
    NodeHelp = "NODE HELP",
    NodeStatus = "NODE STATUS",
}
