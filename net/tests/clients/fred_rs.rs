//! The `fred` crate: multiplexed connections of a runtime, to one node and as a cluster client, in RESP2 and RESP3.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use fred::cmd;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{
    ClientInterface as _, ClientLike as _, ClusterInterface as _, EventInterface as _, HashesInterface as _,
    KeysInterface as _, PubsubInterface as _, ServerInterface as _,
};
use fred::prelude::{Builder, Client, Config, ServerConfig};
use fred::types::{Expiration, ExpireOptions, RespVersion, SetOptions};

use crate::servers::{RedisServer, cluster, cluster_with_password, ports};
use crate::tools::DEADLINE;

const PROTOCOLS: [RespVersion; 2] = [RespVersion::RESP2, RespVersion::RESP3];

type Checked = Result<(), Error>;

/// Runs one story on a runtime of its own, and not beyond the deadline.
fn run(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let ended = runtime.block_on(async { tokio::time::timeout(DEADLINE, story).await });
    ended.expect("it ends in time");
}

async fn connect(server: ServerConfig, version: RespVersion, password: Option<&str>) -> Result<Client, Error> {
    let config = Config { server, version, password: password.map(str::to_owned), ..Config::default() };
    let mut builder = Builder::from_config(config);
    builder.with_performance_config(|config| config.default_command_timeout = Duration::from_secs(30));
    let client = builder.build()?;
    client.init().await?;
    Ok(client)
}

async fn connect_single(port: u16, version: RespVersion) -> Client {
    connect(ServerConfig::new_centralized("127.0.0.1", port), version, None).await.expect("it lets us in")
}

async fn strings(c: &Client, p: &str) -> Checked {
    let key = |name: &str| format!("{p}{name}");
    assert_eq!(c.set::<String, _, _>(key("s"), "v", None, None, false).await?, "OK");
    assert_eq!(c.get::<String, _>(key("s")).await?, "v");
    let absent = Some(SetOptions::NX);
    assert_eq!(c.set::<Option<String>, _, _>(key("s"), "w", None, absent, false).await?, None);
    assert_eq!(c.set::<String, _, _>(key("s"), "w", None, Some(SetOptions::XX), true).await?, "v");
    assert_eq!(c.set::<String, _, _>(key("e"), "v", Some(Expiration::EX(100)), None, false).await?, "OK");
    assert!((98..=100).contains(&c.ttl::<i64, _>(key("e")).await?));
    assert_eq!(c.setnx::<i64, _, _>(key("s"), "x").await?, 0);
    let kept = c.custom::<String, _>(cmd!("SETEX"), vec![key("e"), "50".to_owned(), "v".to_owned()]).await?;
    assert_eq!(kept, "OK");
    assert!((48_000..=50_000).contains(&c.pttl::<i64, _>(key("e")).await?));
    assert_eq!(c.custom::<String, _>(cmd!("GETEX"), vec![key("e"), "PERSIST".to_owned()]).await?, "v");
    assert_eq!(c.ttl::<i64, _>(key("e")).await?, -1);
    assert_eq!(c.getset::<String, _, _>(key("s"), "abc").await?, "w");
    assert_eq!(c.getrange::<String, _>(key("s"), 1, 2).await?, "bc");
    assert_eq!(c.setrange::<i64, _, _>(key("s"), 1, "XY").await?, 3);
    assert_eq!(c.append::<i64, _, _>(key("s"), "Z").await?, 4);
    assert_eq!(c.strlen::<i64, _>(key("s")).await?, 4);
    assert_eq!(c.getdel::<String, _>(key("s")).await?, "aXYZ");
    assert_eq!(c.get::<Option<String>, _>(key("s")).await?, None);
    assert_eq!(c.incr::<i64, _>(key("n")).await?, 1);
    assert_eq!(c.incr_by::<i64, _>(key("n"), 9).await?, 10);
    assert_eq!(c.decr::<i64, _>(key("n")).await?, 9);
    assert_eq!(c.decr_by::<i64, _>(key("n"), 10).await?, -1);
    assert_eq!(c.incr_by_float::<String, _>(key("f"), 1.5).await?, "1.5");
    c.mset(vec![(key("{t}a"), "1"), (key("{t}b"), "2")]).await?;
    let values: Vec<Option<String>> = c.mget(vec![key("{t}a"), key("{t}b"), key("{t}c")]).await?;
    assert_eq!(values, [Some("1".to_owned()), Some("2".to_owned()), None]);
    c.set::<(), _, _>(key("text"), "x", None, None, false).await?;
    let error = c.incr::<i64, _>(key("text")).await.expect_err("it is text");
    assert_eq!(error.details(), "ERR value is not an integer or out of range");
    Ok(())
}

async fn keys(c: &Client, p: &str) -> Checked {
    let key = |name: &str| format!("{p}{{k}}{name}");
    c.set::<(), _, _>(key("1"), "v", None, None, false).await?;
    assert_eq!(c.exists::<i64, _>(vec![key("1"), key("2")]).await?, 1);
    assert_eq!(c.custom::<i64, _>(cmd!("TOUCH"), vec![key("1"), key("2")]).await?, 1);
    assert_eq!(c.r#type::<String, _>(key("1")).await?, "string");
    assert_eq!(c.expire::<i64, _>(key("1"), 100, None).await?, 1);
    assert_eq!(c.expire::<i64, _>(key("1"), 100, Some(ExpireOptions::NX)).await?, 0);
    assert_eq!(c.pexpire::<i64, _>(key("1"), 200_000, Some(ExpireOptions::GT)).await?, 1);
    let at: i64 = 4_102_444_800;
    assert_eq!(c.expire_at::<i64, _>(key("1"), at, None).await?, 1);
    assert!(at.abs_diff(c.expire_time::<i64, _>(key("1")).await?) <= 1);
    assert_eq!(c.pexpire_at::<i64, _>(key("1"), at * 1000, None).await?, 1);
    // Kept by the clock of the group, and told by that of the node.
    assert!((at * 1000).abs_diff(c.pexpire_time::<i64, _>(key("1")).await?) <= 1000);
    assert_eq!(c.persist::<i64, _>(key("1")).await?, 1);
    assert_eq!(c.del::<i64, _>(vec![key("1"), key("2")]).await?, 1);
    assert_eq!(c.unlink::<i64, _>(key("1")).await?, 0);
    c.set::<(), _, _>(key("soon"), "v", Some(Expiration::PX(20)), None, false).await?;
    // The story as a whole has a deadline.
    while c.exists::<i64, _>(key("soon")).await? == 1 {}
    assert_eq!(c.ttl::<i64, _>(key("soon")).await?, -2);
    Ok(())
}

async fn hashes(c: &Client, p: &str) -> Checked {
    let h = &format!("{p}h");
    let pairs = || BTreeMap::from([("a", "1"), ("b", "2")].map(|(field, value)| (field.to_owned(), value.to_owned())));
    assert_eq!(c.hset::<i64, _, _>(h, vec![("a", "1"), ("b", "2")]).await?, 2);
    assert_eq!(c.hsetnx::<i64, _, _, _>(h, "a", "9").await?, 0);
    assert_eq!(c.hget::<String, _, _>(h, "a").await?, "1");
    let values: Vec<Option<String>> = c.hmget(h, vec!["a", "z"]).await?;
    assert_eq!(values, [Some("1".to_owned()), None]);
    assert_eq!(c.hgetall::<BTreeMap<String, String>, _>(h).await?, pairs());
    assert_eq!(c.hkeys::<BTreeSet<String>, _>(h).await?, BTreeSet::from(["a", "b"].map(str::to_owned)));
    assert_eq!(c.hvals::<BTreeSet<String>, _>(h).await?, BTreeSet::from(["1", "2"].map(str::to_owned)));
    assert_eq!(c.hlen::<i64, _>(h).await?, 2);
    assert!(c.hexists::<bool, _, _>(h, "a").await?);
    let (cursor, mut scanned): (String, Vec<String>) = c.custom(cmd!("HSCAN"), vec![h.as_str(), "0"]).await?;
    scanned.sort();
    assert_eq!((cursor.as_str(), scanned.join(" ").as_str()), ("0", "1 2 a b"));
    assert_eq!(c.hincrby::<i64, _, _>(h, "a", 5).await?, 6);
    assert_eq!(c.hincrbyfloat::<String, _, _>(h, "a", 0.5).await?, "6.5");
    assert_eq!(c.hdel::<i64, _, _>(h, vec!["a", "b", "z"]).await?, 2);
    c.set::<(), _, _>(format!("{p}t"), "v", None, None, false).await?;
    let error = c.hget::<String, _, _>(format!("{p}t"), "f").await.expect_err("it is no hash");
    assert_eq!(error.details(), "WRONGTYPE Operation against a key holding the wrong kind of value");
    Ok(())
}

/// What needs one connection, or sees all keys.
async fn whole(c: &Client, p: &str) -> Checked {
    for n in 0..30 {
        c.set::<(), _, _>(format!("{p}scan{n}"), n, None, None, false).await?;
    }
    let (mut cursor, mut names) = ("0".to_owned(), BTreeSet::new());
    loop {
        let page: (String, Vec<String>) = c.scan_page(cursor, format!("{p}scan*"), Some(10), None).await?;
        names.extend(page.1);
        cursor = page.0;
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(names.len(), 30);
    assert!(c.dbsize::<i64>().await? >= 30);
    assert!(c.randomkey::<Option<String>>().await?.is_some());
    let values: Vec<i64> = c.mget(vec![format!("{p}scan1"), format!("{p}scan2")]).await?;
    assert_eq!(values, [1, 2], "slots of two groups");
    assert_eq!(c.ping::<String>(None).await?, "PONG");
    assert_eq!(c.echo::<String, _>("x").await?, "x");
    assert!(c.client_id::<i64>().await? > 0);
    c.client_setname("me").await?;
    assert_eq!(c.client_getname::<String>().await?, "me");
    assert!(c.client_info::<String>().await?.contains(" name=me "));
    c.select(0).await?;
    let version = c.server_version().expect("INFO says one");
    assert!(version.major >= 7, "{version}");
    let pipeline = c.pipeline();
    for _ in 0..100 {
        pipeline.incr::<(), _>(format!("{p}pipe")).await?;
    }
    assert_eq!(pipeline.last::<i64>().await?, 100);
    Ok(())
}

async fn messages(port: u16, version: RespVersion) -> Checked {
    let listener = connect_single(port, version.clone()).await;
    let mut received = listener.message_rx();
    listener.subscribe("news").await?;
    listener.psubscribe("new?").await?;
    let speaker = connect_single(port, version).await;
    assert_eq!(speaker.publish::<i64, _, _>("news", "hi").await?, 2);
    for _ in 0..2 {
        let message = received.recv().await.expect("two of them");
        assert_eq!((&*message.channel, message.value.as_str().as_deref()), ("news", Some("hi")));
    }
    speaker.quit().await?;
    listener.quit().await
}

/// Runs every check of one connection. `p`: what the names of its keys begin with.
async fn check_single(port: u16, version: RespVersion, p: &str) {
    let c = connect_single(port, version.clone()).await;
    let checked = async {
        strings(&c, p).await?;
        keys(&c, p).await?;
        hashes(&c, p).await?;
        whole(&c, p).await?;
        messages(port, version.clone()).await?;
        c.quit().await
    };
    checked.await.unwrap_or_else(|error| panic!("{version:?} at {port}: {error}"));
}

#[test]
fn every_node_answers_as_redis_does() {
    let cluster = cluster();
    for port in ports(&cluster) {
        PROTOCOLS.into_iter().for_each(|version| {
            let p = format!("{port}:{version:?}:");
            run(check_single(port, version, &p));
        });
    }
}

#[test]
fn the_same_checks_pass_against_redis() {
    let Some(server) = RedisServer::start() else { return };
    PROTOCOLS.into_iter().for_each(|version| {
        let p = format!("{version:?}:");
        run(check_single(server.port, version, &p));
    });
}

#[test]
fn cluster_client_finds_every_key() {
    let cluster = cluster();
    for version in PROTOCOLS {
        let hosts = ports(&cluster).into_iter().map(|port| ("127.0.0.1", port)).collect();
        let p = format!("{version:?}:");
        run(async {
            let c = connect(ServerConfig::new_clustered(hosts), version, None).await.expect("a cluster");
            assert_eq!(c.num_primary_cluster_nodes(), 3);
            let checked = async {
                strings(&c, &p).await?;
                keys(&c, &p).await?;
                hashes(&c, &p).await?;
                for n in 0..200 {
                    let key = format!("{p}spread:{n}");
                    c.set::<(), _, _>(&key, n, None, None, false).await?;
                    assert_eq!(c.get::<i64, _>(&key).await?, n);
                }
                c.quit().await
            };
            checked.await.unwrap_or_else(|error| panic!("{p} {error}"));
        });
    }
}

#[test]
fn password_is_given_at_connect() {
    // Without a space, at which fred 10 would split it.
    let cluster = cluster_with_password("sesame");
    let server = || ServerConfig::new_centralized("127.0.0.1", ports(&cluster)[2]);
    for version in PROTOCOLS {
        run(async {
            let c = connect(server(), version.clone(), Some("sesame")).await.expect("let in");
            c.set::<(), _, _>("k", "v", None, None, false).await.expect("let in");
            c.quit().await.expect("it was connected");
            let error = connect(server(), version, Some("wrong")).await.expect_err("not let in");
            assert_eq!(*error.kind(), ErrorKind::Auth, "{error}");
        });
    }
}
