"""Runs the commands of tier 1 through redis-py, in RESP2 and RESP3, to one node and as a cluster client.

Usage: redis_py.py PORT [PORT ...]; prints "N passed, N failed" and exits 1 if something failed.
"""

import sys
import time

import redis
from redis.cluster import ClusterNode, RedisCluster

PASSED = FAILED = 0


def check(name, actual, expected):
    global PASSED, FAILED
    if callable(expected):
        good = expected(actual)
    else:
        good = actual == expected
    if good:
        PASSED += 1
    else:
        FAILED += 1
        print(f"FAILED {name}: {actual!r}, expected {expected!r}")


def raises(name, text, call):
    try:
        check(name, call(), f"an error with {text}")
    except redis.ResponseError as error:
        check(name, str(error), lambda actual: text in actual)


def strings(r, p):
    check("set", r.set(p + "s", "v"), True)
    check("get", r.get(p + "s"), "v")
    check("set nx", r.set(p + "s", "w", nx=True), None)
    check("set xx get", r.set(p + "s", "w", xx=True, get=True), "v")
    check("setnx", r.setnx(p + "s", "x"), False)
    check("setex", r.setex(p + "e", 100, "v"), True)
    check("psetex", r.psetex(p + "e", 100_000, "v"), True)
    check("ttl", r.ttl(p + "e"), lambda t: 98 <= t <= 100)
    check("getex", r.getex(p + "e", persist=True), "v")
    check("ttl without", r.ttl(p + "e"), -1)
    check("getset", r.getset(p + "s", "abc"), "w")
    check("getrange", r.getrange(p + "s", 1, -1), "bc")
    check("setrange", r.setrange(p + "s", 1, "XY"), 3)
    check("append", r.append(p + "s", "Z"), 4)
    check("strlen", r.strlen(p + "s"), 4)
    check("getdel", r.getdel(p + "s"), "aXYZ")
    check("get missing", r.get(p + "s"), None)
    check("incr", r.incr(p + "n"), 1)
    check("incrby", r.incrby(p + "n", 9), 10)
    check("decr", r.decr(p + "n"), 9)
    check("decrby", r.decrby(p + "n", 10), -1)
    check("incrbyfloat", float(r.incrbyfloat(p + "f", 1.5)), 1.5)
    check("mset", r.mset({p + "{t}a": "1", p + "{t}b": "2"}), True)
    check("mget", r.mget(p + "{t}a", p + "{t}b", p + "{t}c"), ["1", "2", None])
    r.set(p + "text", "x")
    raises("incr of text", "not an integer", lambda: r.incr(p + "text"))


def keys(r, p):
    r.set(p + "{k}1", "v")
    check("exists", r.exists(p + "{k}1", p + "{k}2"), 1)
    check("touch", r.touch(p + "{k}1"), 1)
    check("type", r.type(p + "{k}1"), "string")
    check("expire", r.expire(p + "{k}1", 100), True)
    check("expire nx", r.expire(p + "{k}1", 100, nx=True), False)
    check("pexpire", r.pexpire(p + "{k}1", 100_000), True)
    check("pttl", r.pttl(p + "{k}1"), lambda t: 98_000 <= t <= 100_000)
    at = int(time.time()) + 1000
    check("expireat", r.expireat(p + "{k}1", at), True)
    check("expiretime", r.expiretime(p + "{k}1"), lambda t: abs(t - at) <= 1)
    check("persist", r.persist(p + "{k}1"), True)
    check("del", r.delete(p + "{k}1", p + "{k}2"), 1)
    check("unlink", r.unlink(p + "{k}1"), 0)
    check("expires", r.set(p + "soon", "v", px=20), True)
    deadline = time.monotonic() + 5
    while r.exists(p + "soon") and time.monotonic() < deadline:
        pass
    check("has expired", r.get(p + "soon"), None)


def hashes(r, p):
    h = p + "h"
    check("hset", r.hset(h, mapping={"a": "1", "b": "2"}), 2)
    check("hsetnx", r.hsetnx(h, "a", "9"), False)
    check("hget", r.hget(h, "a"), "1")
    check("hmget", r.hmget(h, ["a", "z"]), ["1", None])
    check("hgetall", r.hgetall(h), {"a": "1", "b": "2"})
    check("hkeys", sorted(r.hkeys(h)), ["a", "b"])
    check("hvals", sorted(r.hvals(h)), ["1", "2"])
    check("hlen", r.hlen(h), 2)
    check("hexists", r.hexists(h, "a"), True)
    check("hincrby", r.hincrby(h, "a", 5), 6)
    check("hincrbyfloat", float(r.hincrbyfloat(h, "a", 0.5)), 6.5)
    check("hscan", dict(r.hscan_iter(h)), {"a": "6.5", "b": "2"})
    check("hdel", r.hdel(h, "a", "b"), 2)
    raises("wrong type", "WRONGTYPE", lambda: (r.set(p + "t", "v"), r.hget(p + "t", "f"))[1])


def whole(r, p):
    """Commands that need one connection and see all keys."""
    for n in range(30):
        r.set(f"{p}scan{n}", "v")
    check("scan", len(set(r.scan_iter(p + "scan*"))), 30)
    check("keys", len(r.keys(p + "scan1*")), 11)
    check("dbsize", r.dbsize(), lambda n: n >= 30)
    check("randomkey", r.randomkey(), lambda key: key is not None)
    check("wait", r.execute_command("SET", p + "w", "v") and r.wait(1, 1000), lambda n: n >= 1)
    check("ping", r.ping(), True)
    check("echo", r.echo("x"), "x")
    check("time", r.time(), lambda t: t[0] > 1_700_000_000)
    check("client id", r.client_id(), lambda n: n > 0)
    check("client setname", r.client_setname("me"), True)
    check("client getname", r.client_getname(), "me")
    check("client list", r.client_list(), lambda rows: any(row["name"] == "me" for row in rows))
    check("config get", r.config_get("maxmemory"), lambda d: "maxmemory" in d)
    check("info", r.info(), lambda i: i["redis_version"] == "7.2.0" and "quorate_version" in i)
    check("command count", r.command_count(), lambda n: n >= 80)
    check("acl whoami", r.acl_whoami(), "default")
    check("role", r.role(), lambda role: role[0] in ("master", b"master"))
    check("multi-slot mget", r.mget(p + "scan1", p + "scan2"), ["v", "v"])
    check("multi-slot del", r.delete(*[f"{p}scan{n}" for n in range(30)]), 30)
    pipe = r.pipeline(transaction=False)
    for n in range(100):
        pipe.incr(p + "pipe")
        pipe.get(p + "pipe")
    check("pipeline", pipe.execute()[-1], "100")
    raises("coherent", "not built yet", lambda: r.execute_command("SET", p + "c", "v", "ACK", "coherent"))
    raises("lists", "not supported", lambda: r.lpush(p + "l", "v"))
    raises("tracking", "TRACKING", lambda: r.execute_command("CLIENT", "TRACKING", "ON"))
    sub = r.pubsub()
    sub.subscribe(p + "ch")
    sub.get_message(timeout=5)
    check("publish", r.publish(p + "ch", "hi"), 1)
    check("message", sub.get_message(timeout=5), lambda m: m is not None and m["data"] == "hi")
    sub.close()


def main():
    ports = [int(port) for port in sys.argv[1:]]
    for port in ports:
        for protocol in (2, 3):
            r = redis.Redis(port=port, protocol=protocol, decode_responses=True)
            p = f"py:{port}:{protocol}:"
            for part in (strings, keys, hashes, whole):
                part(r, p)
    for protocol in (2, 3):
        nodes = [ClusterNode("127.0.0.1", port) for port in ports]
        r = RedisCluster(startup_nodes=nodes, protocol=protocol, decode_responses=True)
        for part in (strings, keys, hashes):
            part(r, f"pyc:{protocol}:")
    print(f"{PASSED} passed, {FAILED} failed")
    sys.exit(FAILED > 0)


main()
