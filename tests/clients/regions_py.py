"""Drives a cluster of regions through redis-py, as a plain and as a cluster client.

Arguments: "plain" or "cluster", the protocol version, and the ports of the nodes.

The prefixes {eu}, {us} and {ap}, and eu:, us: and ap: without a tag, have homes of their own.
"""

import sys

import redis
from redis.cluster import RedisCluster

kind, protocol, ports = sys.argv[1], int(sys.argv[2]), [int(port) for port in sys.argv[3:]]
TAGGED = ["{eu}", "{us}", "{ap}"]
PREFIXES = [tag + ":" for tag in TAGGED] + ["eu:", "us:", "ap:", "nowhere:"]

redirects = 0


def count_redirects(error):
    made = error.__init__

    def init(self, *args):
        global redirects
        redirects += 1
        made(self, *args)

    error.__init__ = init


count_redirects(redis.exceptions.MovedError)
count_redirects(redis.exceptions.AskError)


def connect(port):
    options = dict(host="127.0.0.1", port=port, protocol=protocol, socket_timeout=60)
    return redis.Redis(**options) if kind == "plain" else RedisCluster(**options)


def values(r, prefix):
    """Commands on keys of one prefix, alone and in a pipeline."""
    for name in "k", "n":
        r.delete(prefix + name)
    assert r.set(prefix + "k", "v", ex=100) is True
    assert r.get(prefix + "k") == b"v"
    assert 0 < r.ttl(prefix + "k") <= 100
    assert r.incr(prefix + "n") == 1
    assert r.append(prefix + "k", "w") == 2
    assert r.exists(prefix + "k") == 1
    with r.pipeline(transaction=False) as pipe:
        for _ in range(100):
            pipe.incr(prefix + "n")
        assert pipe.execute() == list(range(2, 102))


def transactions(r, prefix):
    with r.pipeline(transaction=True) as pipe:
        assert pipe.incr(prefix + "n").get(prefix + "n").execute() == [102, b"102"]
    with r.pipeline(transaction=True) as pipe:
        pipe.watch(prefix + "n")
        assert pipe.get(prefix + "n") == b"102"
        pipe.multi()
        pipe.set(prefix + "n", 7)
        replies = pipe.execute()
        # Its cluster client leaves replies of transactions as they come.
        assert replies in ([True], [b"OK"]), replies
    with r.pipeline(transaction=True) as pipe:
        pipe.watch(prefix + "n")
        connect(ports[-1]).set(prefix + "n", "changed")
        pipe.multi()
        pipe.set(prefix + "n", "lost")
        try:
            pipe.execute()
        except redis.WatchError:
            pass
        else:
            raise AssertionError("a change went unnoticed")
    assert r.get(prefix + "n") == b"changed"


def listings(r):
    """All keys of all regions, each once."""
    wanted = {(prefix + "k").encode() for prefix in PREFIXES}
    wanted |= {(prefix + "n").encode() for prefix in PREFIXES}
    found = list(r.scan_iter(count=50))
    assert len(found) == len(set(found)) and set(found) == wanted, found
    # A cluster port counts its node's share, and this client asks one node unless told otherwise.
    size = r.dbsize() if kind == "plain" else r.dbsize(target_nodes="primaries")
    assert size == len(wanted), size


for port in ports:
    r = connect(port)
    assert r.ping()
    for prefix in PREFIXES:
        values(r, prefix)
        # A cluster client has no transactions over what it takes for several slots.
        if kind == "plain" or prefix[0] == "{":
            transactions(r, prefix)
    listings(r)
    if kind == "plain":
        keys = [prefix + "k" for prefix in PREFIXES]
        assert r.mget(keys) == [b"vw"] * len(keys)
        assert set(r.keys("*:k")) == {key.encode() for key in keys}
    assert redirects == 0, f"{redirects} redirects: the slot map and the nodes disagree"
    if kind == "cluster":
        slots = r.cluster_slots()
        assert sum(last - first + 1 for first, last in slots) == 16384, slots
        homes = {r.get_node_from_key(tag + ":k").port for tag in TAGGED}
        assert len(homes) == len(TAGGED), homes
print("redis-py", redis.__version__, kind, "RESP", protocol, "ok")
