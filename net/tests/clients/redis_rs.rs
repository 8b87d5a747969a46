//! The `redis` crate: blocking connections, to one node and as a cluster client, in RESP2 and RESP3.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use redis::cluster::ClusterClient;
use redis::{
    Client, Commands, Connection, ConnectionInfo, ConnectionLike, ErrorKind, ExistenceCheck, Expiry,
    IntoConnectionInfo, ProtocolVersion, RedisResult, SetExpiry, SetOptions, cmd, pipe,
};

use crate::servers::{RedisServer, cluster, cluster_with_password, ports};
use crate::tools::DEADLINE;

const PROTOCOLS: [ProtocolVersion; 2] = [ProtocolVersion::RESP2, ProtocolVersion::RESP3];

fn info(port: u16, protocol: ProtocolVersion) -> ConnectionInfo {
    let info = ("127.0.0.1", port).into_connection_info().expect("an address");
    let settings = info.redis_settings().clone().set_protocol(protocol);
    info.set_redis_settings(settings)
}

fn connect(port: u16, protocol: ProtocolVersion) -> Connection {
    Client::open(info(port, protocol)).expect("an address").get_connection().expect("it listens")
}

/// Returns the code and the text of an error.
fn refusal<T: std::fmt::Debug>(result: RedisResult<T>) -> (String, String) {
    let error = result.expect_err("it is refused");
    (error.code().unwrap_or_default().to_owned(), error.detail().unwrap_or_default().to_owned())
}

fn strings<C: ConnectionLike>(c: &mut C, p: &str) -> RedisResult<()> {
    let key = |name: &str| format!("{p}{name}");
    assert!(c.set::<_, _, bool>(key("s"), "v")?);
    assert_eq!(c.get::<_, String>(key("s"))?, "v");
    let absent = SetOptions::default().conditional_set(ExistenceCheck::NX);
    assert_eq!(c.set_options::<_, _, Option<String>>(key("s"), "w", absent)?, None);
    let present = SetOptions::default().conditional_set(ExistenceCheck::XX).get(true);
    assert_eq!(c.set_options::<_, _, String>(key("s"), "w", present)?, "v");
    let with_end = SetOptions::default().with_expiration(SetExpiry::EX(100));
    assert!(c.set_options::<_, _, bool>(key("e"), "v", with_end)?);
    assert!((98..=100).contains(&c.ttl::<_, i64>(key("e"))?));
    assert!(!c.set_nx::<_, _, bool>(key("s"), "x")?);
    assert!(c.set_ex::<_, _, bool>(key("e"), "v", 50)?);
    assert!(c.pset_ex::<_, _, bool>(key("e"), "v", 50_000)?);
    assert!((48_000..=50_000).contains(&c.pttl::<_, i64>(key("e"))?));
    assert_eq!(c.get_ex::<_, String>(key("e"), Expiry::PERSIST)?, "v");
    assert_eq!(c.ttl::<_, i64>(key("e"))?, -1);
    assert_eq!(c.getset::<_, _, String>(key("s"), "abc")?, "w");
    assert_eq!(c.getrange::<_, String>(key("s"), 1, -1)?, "bc");
    assert_eq!(c.setrange::<_, _, usize>(key("s"), 1, "XY")?, 3);
    assert_eq!(c.append::<_, _, usize>(key("s"), "Z")?, 4);
    assert_eq!(c.strlen::<_, usize>(key("s"))?, 4);
    assert_eq!(c.get_del::<_, String>(key("s"))?, "aXYZ");
    assert_eq!(c.get::<_, Option<String>>(key("s"))?, None);
    assert_eq!(c.incr::<_, _, i64>(key("n"), 1)?, 1);
    assert_eq!(c.incr::<_, _, i64>(key("n"), 9)?, 10);
    assert_eq!(c.decr::<_, _, i64>(key("n"), 11)?, -1);
    assert_eq!(c.incr::<_, _, String>(key("f"), 1.5)?, "1.5");
    assert!(c.mset::<_, _, bool>(&[(key("{t}a"), "1"), (key("{t}b"), "2")])?);
    let values: Vec<Option<String>> = c.mget(&[key("{t}a"), key("{t}b"), key("{t}c")])?;
    assert_eq!(values, [Some("1".to_owned()), Some("2".to_owned()), None]);
    let binary: Vec<u8> = (0..=255).collect();
    assert!(c.set::<_, _, bool>(key("bytes"), &binary[..])?);
    assert_eq!(c.get::<_, Vec<u8>>(key("bytes"))?, binary);
    let text = "value is not an integer or out of range".to_owned();
    assert_eq!(refusal(c.incr::<_, _, i64>(key("bytes"), 1)), ("ERR".to_owned(), text));
    Ok(())
}

fn keys<C: ConnectionLike>(c: &mut C, p: &str) -> RedisResult<()> {
    let key = |name: &str| format!("{p}{{k}}{name}");
    assert!(c.set::<_, _, bool>(key("1"), "v")?);
    assert_eq!(c.exists::<_, i64>(&[key("1"), key("2")])?, 1);
    assert_eq!(cmd("TOUCH").arg(key("1")).arg(key("2")).query::<i64>(c)?, 1);
    assert_eq!(cmd("TYPE").arg(key("1")).query::<String>(c)?, "string");
    assert!(c.expire::<_, bool>(key("1"), 100)?);
    assert_eq!(cmd("EXPIRE").arg(key("1")).arg(100).arg("NX").query::<i64>(c)?, 0);
    assert!(c.pexpire::<_, bool>(key("1"), 100_000)?);
    let at: i64 = 4_102_444_800;
    assert!(c.expire_at::<_, bool>(key("1"), at)?);
    assert!(at.abs_diff(c.expire_time::<_, i64>(key("1"))?) <= 1);
    assert!(c.pexpire_at::<_, bool>(key("1"), at * 1000)?);
    // Kept by the clock of the group, and told by that of the node.
    assert!((at * 1000).abs_diff(c.pexpire_time::<_, i64>(key("1"))?) <= 1000);
    assert!(c.persist::<_, bool>(key("1"))?);
    assert_eq!(c.del::<_, i64>(&[key("1"), key("2")])?, 1);
    assert_eq!(c.unlink::<_, i64>(key("1"))?, 0);
    let soon = SetOptions::default().with_expiration(SetExpiry::PX(20));
    assert!(c.set_options::<_, _, bool>(key("soon"), "v", soon)?);
    let started = Instant::now();
    while c.exists::<_, bool>(key("soon"))? {
        assert!(started.elapsed() < DEADLINE, "it does not expire");
    }
    assert_eq!(c.ttl::<_, i64>(key("soon"))?, -2);
    Ok(())
}

fn hashes<C: ConnectionLike>(c: &mut C, p: &str) -> RedisResult<()> {
    let h = &format!("{p}h");
    assert_eq!(c.hset::<_, _, _, i64>(h, "a", "1")?, 1);
    assert!(c.hset_multiple::<_, _, _, bool>(h, &[("b", "2"), ("a", "1")])?);
    assert!(!c.hset_nx::<_, _, _, bool>(h, "a", "9")?);
    assert_eq!(c.hget::<_, _, String>(h, "a")?, "1");
    let values: Vec<Option<String>> = cmd("HMGET").arg(h).arg("a").arg("z").query(c)?;
    assert_eq!(values, [Some("1".to_owned()), None]);
    let pairs = || [("a", "1"), ("b", "2")].map(|(field, value)| (field.to_owned(), value.to_owned()));
    assert_eq!(c.hgetall::<_, BTreeMap<String, String>>(h)?, BTreeMap::from(pairs()));
    assert_eq!(c.hkeys::<_, BTreeSet<String>>(h)?, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    assert_eq!(c.hvals::<_, BTreeSet<i64>>(h)?, BTreeSet::from([1, 2]));
    assert_eq!(c.hlen::<_, i64>(h)?, 2);
    assert!(c.hexists::<_, _, bool>(h, "a")?);
    let scanned: HashMap<String, String> = c.hscan::<_, (String, String)>(h)?.collect::<RedisResult<_>>()?;
    assert_eq!(scanned, HashMap::from(pairs()));
    assert_eq!(c.hincr::<_, _, _, i64>(h, "a", 5)?, 6);
    assert_eq!(c.hincr::<_, _, _, String>(h, "a", 0.5)?, "6.5");
    assert_eq!(c.hdel::<_, _, i64>(h, &["a", "b", "z"])?, 2);
    assert!(c.set::<_, _, bool>(format!("{p}text"), "v")?);
    let wrong_type = "Operation against a key holding the wrong kind of value".to_owned();
    assert_eq!(refusal(c.hget::<_, _, String>(format!("{p}text"), "f")), ("WRONGTYPE".to_owned(), wrong_type));
    Ok(())
}

/// What needs one connection, or sees all keys.
fn whole(c: &mut Connection, p: &str) -> RedisResult<()> {
    for n in 0..30 {
        assert!(c.set::<_, _, bool>(format!("{p}scan{n}"), n)?);
    }
    let names: BTreeSet<String> = c.scan_match::<_, String>(format!("{p}scan*"))?.collect::<RedisResult<_>>()?;
    assert_eq!(names.len(), 30);
    assert_eq!(c.keys::<_, Vec<String>>(format!("{p}scan1*"))?.len(), 11);
    assert!(cmd("DBSIZE").query::<i64>(c)? >= 30);
    assert!(cmd("RANDOMKEY").query::<Option<String>>(c)?.is_some());
    assert_eq!(c.mget::<_, Vec<i64>>(&[format!("{p}scan1"), format!("{p}scan2")])?, [1, 2], "slots of two groups");
    assert_eq!(c.ping::<String>()?, "PONG");
    assert_eq!(cmd("ECHO").arg("x").query::<String>(c)?, "x");
    assert!(c.client_id::<i64>()? > 0);
    assert!(c.client_setname::<_, bool>("me")?);
    assert_eq!(c.client_getname::<String>()?, "me");
    let (seconds, micros): (u64, u64) = cmd("TIME").query(c)?;
    assert!(seconds > 1_700_000_000 && micros < 1_000_000);
    let replies: (bool, i64, i64, Option<String>) =
        pipe().set(format!("{p}p"), 1).incr(format!("{p}p"), 2).del(format!("{p}p")).get(format!("{p}p")).query(c)?;
    assert_eq!(replies, (true, 3, 1, None));
    let (code, text) = refusal(cmd("NOSUCH").arg("a").query::<()>(c));
    assert_eq!(code, "ERR");
    assert!(text.starts_with("unknown command 'NOSUCH', with args beginning with: 'a'"), "{text}");
    Ok(())
}

fn messages(port: u16, protocol: ProtocolVersion) -> RedisResult<()> {
    let mut listener = connect(port, protocol);
    listener.set_read_timeout(Some(DEADLINE))?;
    let mut subscription = listener.as_pubsub();
    subscription.subscribe("news")?;
    subscription.psubscribe("new?")?;
    let mut speaker = connect(port, protocol);
    assert_eq!(speaker.publish::<_, _, i64>("news", "hi")?, 2);
    let mut kinds = BTreeSet::new();
    for _ in 0..2 {
        let message = subscription.get_message()?;
        assert_eq!((message.get_channel_name(), message.get_payload::<String>()?.as_str()), ("news", "hi"));
        kinds.insert(message.from_pattern());
    }
    assert_eq!(kinds.len(), 2);
    Ok(())
}

/// Runs every check of one connection. `p`: what the names of its keys begin with.
fn check_single(port: u16, protocol: ProtocolVersion, p: &str) {
    let mut connection = connect(port, protocol);
    let checked = strings(&mut connection, p)
        .and_then(|()| keys(&mut connection, p))
        .and_then(|()| hashes(&mut connection, p))
        .and_then(|()| whole(&mut connection, p))
        .and_then(|()| messages(port, protocol));
    checked.unwrap_or_else(|error| panic!("{protocol:?} at {port}: {error}"));
}

#[test]
fn every_node_answers_as_redis_does() {
    let cluster = cluster();
    for port in ports(&cluster) {
        PROTOCOLS.into_iter().for_each(|protocol| check_single(port, protocol, &format!("{port}:{protocol:?}:")));
    }
}

#[test]
fn the_same_checks_pass_against_redis() {
    let Some(server) = RedisServer::start() else { return };
    PROTOCOLS.into_iter().for_each(|protocol| check_single(server.port, protocol, &format!("{protocol:?}:")));
}

#[test]
fn cluster_client_finds_every_key() {
    let cluster = cluster();
    for protocol in PROTOCOLS {
        let nodes: Vec<ConnectionInfo> = ports(&cluster).into_iter().map(|port| info(port, protocol)).collect();
        let client = ClusterClient::builder(nodes).use_protocol(protocol).response_timeout(DEADLINE).build();
        let mut connection = client.and_then(|client| client.get_connection()).expect("a cluster");
        let p = format!("{protocol:?}:");
        let checked = strings(&mut connection, &p)
            .and_then(|()| keys(&mut connection, &p))
            .and_then(|()| hashes(&mut connection, &p));
        checked.unwrap_or_else(|error| panic!("{protocol:?}: {error}"));
        for n in 0..200 {
            let key = format!("{p}spread:{n}");
            assert!(connection.set::<_, _, bool>(&key, n).expect("its owner takes it"));
            assert_eq!(connection.get::<_, i64>(&key).expect("its owner has it"), n);
        }
    }
}

/// The crate reads the error of HELLO as any other, and that of AUTH as what it means.
fn kind_of_wrong_password(protocol: ProtocolVersion) -> (ErrorKind, Option<&'static str>) {
    match protocol {
        ProtocolVersion::RESP3 => (ErrorKind::Extension, Some("WRONGPASS")),
        _ => (ErrorKind::AuthenticationFailed, None),
    }
}

#[test]
fn password_is_given_at_connect() {
    let cluster = cluster_with_password("open sesame");
    let port = ports(&cluster)[1];
    for protocol in PROTOCOLS {
        let plain = info(port, protocol);
        let settings = plain.redis_settings().clone().set_password("open sesame");
        let client = Client::open(plain.clone().set_redis_settings(settings.clone())).expect("an address");
        let mut connection = client.get_connection_with_timeout(DEADLINE.min(Duration::from_secs(30))).expect("let in");
        assert!(connection.set::<_, _, bool>("k", "v").expect("let in"));

        let wrong = Client::open(plain.set_redis_settings(settings.set_password("wrong"))).expect("an address");
        let error = wrong.get_connection().err().expect("it is not let in");
        assert_eq!((error.kind(), error.code()), kind_of_wrong_password(protocol), "{error}");
    }
}
