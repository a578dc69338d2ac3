"""Drives a server through redis-py. Arguments: the port, and the protocol version."""

import concurrent.futures
import sys

import redis

port, protocol = int(sys.argv[1]), int(sys.argv[2])


def connect(**options):
    return redis.Redis(host="127.0.0.1", port=port, protocol=protocol, socket_timeout=60, **options)


def fails(error, call, text):
    try:
        call()
    except error as raised:
        assert text in str(raised), raised
    else:
        raise AssertionError(f"no {error.__name__}")


r = connect()
assert r.ping() is True
assert r.flushall() is True

# Values.
assert r.set("k", "v") is True
assert r.get("k") == b"v"
assert r.get("absent") is None
assert r.set("k", "w", nx=True) is None
assert r.set("k", "w", get=True) == b"v"
binary = bytes(range(256)) + b"\r\n$-1\r\n"
assert r.set(binary, binary) is True
assert r.get(binary) == binary
assert r.mset({"a": 1, "b": 2}) is True
assert r.mget("a", "b", "absent") == [b"1", b"2", None]
assert r.incr("a") == 2
assert r.incrbyfloat("f", 0.5) == 0.5
assert r.append("k", "!") == 2
assert r.strlen("k") == 2
assert r.getrange("k", 0, 0) == b"w"
assert r.exists("a", "b", "absent") == 2
assert r.delete("a", "b", "absent") == 2
assert r.type("k") == b"string"
assert r.setbit("bits", 7, 1) == 0
assert r.bitcount("bits") == 1
assert r.bitfield("bits").get("u8", 0).execute() == [1]
r.mset({"x": "ohmytext", "y": "mynewtext"})
assert r.lcs("x", "y") == b"mytext"
assert connect(decode_responses=True).get("x") == "ohmytext"

# Expiry.
assert r.set("t", "v", ex=100) is True
assert 0 < r.ttl("t") <= 100
assert r.expire("t", 200, gt=True)
assert 100_000 < r.pttl("t") <= 200_000
assert r.expireat("t", 33177117420) and r.expiretime("t") == 33177117420
assert r.persist("t") and r.ttl("t") == -1
assert r.ttl("absent") == -2

# Pipelines and transactions.
with r.pipeline(transaction=False) as pipe:
    for n in range(1000):
        pipe.set(f"p:{n}", n).incr(f"p:{n}")
    replies = pipe.execute()
assert replies[0::2] == [True] * 1000 and replies[1::2] == list(range(1, 1001))
with r.pipeline() as pipe:
    assert pipe.incr("n").incr("n").get("n").execute() == [1, 2, b"2"]
with r.pipeline() as pipe:
    pipe.set("s", "text").incr("s").get("s")
    replies = pipe.execute(raise_on_error=False)
    assert replies[0] is True and replies[2] == b"text"
    assert isinstance(replies[1], redis.ResponseError), replies
with r.pipeline() as pipe:
    pipe.watch("n")
    value = int(pipe.get("n"))
    pipe.multi()
    pipe.set("n", value + 10)
    assert pipe.execute() == [True]
with r.pipeline() as pipe:
    pipe.watch("n")
    connect().set("n", "changed")
    pipe.multi()
    pipe.set("n", "lost")
    fails(redis.WatchError, pipe.execute, "Watched variable changed")
assert r.get("n") == b"changed"

# Iteration.
assert {key for key in r.scan_iter("p:*", count=50)} == {b"p:%d" % n for n in range(1000)}
assert set(r.keys("p:99?")) == {b"p:%d" % n for n in range(990, 1000)}
assert r.dbsize() >= 1000

# Databases.
other = connect(db=5)
assert other.get("k") is None
assert other.set("only here", 1) and r.get("only here") is None
assert r.copy("k", "k", destination_db=5) and other.get("k") == b"w!"
assert r.move("x", 5) and other.get("x") == b"ohmytext"
assert r.swapdb(5, 6) and other.get("x") is None
assert connect(db=6).flushdb() is True

# Clients that wait for keys.
def pushes(waiting, push):
    """Runs `waiting` on a thread of its own, and `push` once it is blocked."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = pool.submit(waiting)
        while r.info("clients")["blocked_clients"] == 0:
            assert not future.done(), future.result()
        push()
        return future.result()


waiter = connect()
popped = pushes(lambda: waiter.blpop(["jobs", "more"], timeout=0), lambda: r.rpush("more", "a"))
assert list(popped) == [b"more", b"a"], popped
assert pushes(lambda: waiter.blmove("jobs", "done", 0, "LEFT", "RIGHT"), lambda: r.lpush("jobs", "b")) == b"b"
assert pushes(lambda: waiter.brpoplpush("jobs", "done"), lambda: r.lpush("jobs", "c")) == b"c"
popped = pushes(lambda: waiter.bzpopmin("delayed", 0), lambda: r.zadd("delayed", {"d": 1.5}))
assert list(popped) == [b"delayed", b"d", 1.5], popped
assert pushes(lambda: waiter.blmpop(0, 1, "jobs", direction="LEFT"), lambda: r.pipeline().rpush("jobs", "e").execute()) == [b"jobs", [b"e"]]
assert r.lrange("done", 0, -1) == [b"c", b"b"]
assert waiter.brpop("jobs", timeout=0.01) is None

# Errors, by class.
fails(redis.ResponseError, lambda: r.incr("k"), "value is not an integer or out of range")
fails(redis.ResponseError, lambda: r.execute_command("NOPE"), "unknown command")
fails(redis.ResponseError, lambda: r.execute_command("GET"), "wrong number of arguments")
fails(redis.ResponseError, lambda: connect(db=99).ping(), "DB index is out of range")
fails(redis.ResponseError, lambda: r.set("k", "v", ex=0), "invalid expire time")

# Scripts: locks, which are scripts, and others as queues have them.
lock = r.lock("lock", timeout=30)
assert lock.acquire(blocking=False) is True
assert r.lock("lock", timeout=30).acquire(blocking=False) is False
assert lock.extend(5) is True and lock.reacquire() is True and lock.owned() is True
lock.release()
fails(redis.exceptions.LockError, lock.release, "unlocked")
add_job = r.register_script("""
local id = redis.call('INCR', KEYS[1])
redis.call('HSET', KEYS[2] .. id, 'data', ARGV[1], 'at', redis.call('TIME')[1])
local options = cmsgpack.unpack(ARGV[2])
if options.delay > 0 then
  redis.call('ZADD', KEYS[3], options.delay, id)
else
  redis.call('LPUSH', KEYS[4], id)
end
return {id, cjson.encode({state = options.delay > 0 and 'delayed' or 'waiting'})}
""")
keys = ["q:id", "q:", "q:delayed", "q:wait"]
packed = lambda delay: b"\x81\xa5delay" + bytes([delay])
assert add_job(keys=keys, args=["{}", packed(0)]) == [1, b'{"state":"waiting"}']
assert add_job(keys=keys, args=["{}", packed(9)]) == [2, b'{"state":"delayed"}']
assert r.lrange("q:wait", 0, -1) == [b"1"] and r.zscore("q:delayed", "2") == 9
# As kombu restores what was not acknowledged: keys that are not declared.
restore = r.register_script("""
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do redis.call('RPUSH', 'restored', key) end
return redis.call('LLEN', 'restored')""")
assert restore(args=["q:d"]) == 1
assert r.script_exists(restore.sha) == [True] and r.script_flush() is True
assert r.script_exists(restore.sha) == [False]
assert restore(args=["none"]) == 1
fails(redis.exceptions.NoScriptError, lambda: r.evalsha("0" * 40, 0), "No matching script")
fails(redis.ResponseError, lambda: r.eval("return redis.call('NOPE')", 0), "Unknown Redis command")
library = "#!lua name=py\nredis.register_function('twice', function(keys, args) return args[1] * 2 end)"
assert r.function_load(library, replace=True) in (b"py", "py")
assert r.fcall("twice", 0, 21) == 42
assert r.function_delete("py") in (True, b"OK")

# What connections and tools ask.
assert r.client_setname("me") and r.client_getname() in ("me", b"me")
assert r.client_id() > 0
assert any(client["name"] == "me" for client in r.client_list())
assert "redis_version" in r.info() and r.info("server")["redis_version"].startswith("7.")
assert r.info("keyspace")["db0"]["keys"] == r.dbsize()
assert r.config_get("maxmemory") == {"maxmemory": "0"}
assert r.config_set("maxmemory-samples", 6) is True
assert r.config_get("maxmemory-samples") == {"maxmemory-samples": "6"}
assert "get" in r.command()
assert r.command_count() > 50
assert r.time()[0] > 1_600_000_000
assert r.object("encoding", "k") in (b"raw", "raw")
with r.monitor() as monitor:
    connect().set("monitored", "1")
    seen = []
    while not any("monitored" in line for line in seen):
        seen.append(monitor.next_command()["command"])
assert r.echo("hello") == b"hello"


# Channels, patterns and shard channels.
def message(listener):
    while True:
        said = listener.get_message(timeout=60)
        assert said is not None, "no message came"
        if said["type"].endswith("message"):
            return said["type"], said["channel"], said["data"]


with r.pubsub() as listener:
    listener.subscribe("news")
    listener.psubscribe("n*s")
    for _ in range(2):
        assert listener.get_message(timeout=60)["type"].endswith("subscribe")
    assert r.publish("news", "hello") == 2
    assert {message(listener)[0] for _ in range(2)} == {"message", "pmessage"}
    with r.pipeline(transaction=True) as pipe:
        pipe.set("told", 1).publish("news", "in a transaction")
        assert pipe.execute() == [True, 2]
    assert message(listener)[2] == b"in a transaction"
    message(listener)
    assert r.pubsub_channels() == [b"news"] and r.pubsub_numsub("news") == [(b"news", 1)]
    assert r.pubsub_numpat() == 1
    assert r.config_set("notify-keyspace-events", "KEA") is True
    listener.psubscribe("__keyspace@0__:*")
    r.set("noted", 1)
    kind, channel, data = message(listener)
    assert (channel, data) == (b"__keyspace@0__:noted", b"set"), (channel, data)
    r.config_set("notify-keyspace-events", "")

print("redis-py", redis.__version__, "RESP", protocol, "ok")
