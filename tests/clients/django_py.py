"""Uses Django's caches, its own and django-redis. Arguments: the prefix of keys, and ports."""

import sys
import threading
import time

import django
import django_redis
from django.conf import settings

KEYS = 100


def use(cache):
    cache.clear()
    pairs = {f"k{number}": {"number": number} for number in range(KEYS)}
    assert not cache.set_many(pairs)
    assert cache.get_many(pairs) == pairs
    assert cache.get("none") is None and cache.get("none", 7) == 7
    assert cache.add("k0", 1) is False and cache.add("new", 1) is True
    assert cache.incr("new", 41) == 42 and cache.decr("new") == 41
    assert cache.get_or_set("made", lambda: "x", 100) == "x"
    assert "made" in cache and cache.has_key("k1")
    cache.set("short", 1, timeout=60)
    assert cache.touch("short", 100) is True and cache.touch("none") is False
    cache.set("gone", 1, timeout=1)
    time.sleep(1.1)
    assert cache.get("gone") is None and cache.get("short") == 1
    cache.set("short", 2, version=2)
    assert cache.get("short") == 1 and cache.get("short", version=2) == 2
    assert cache.incr_version("short", 5) == 6 and cache.get("short", version=6) == 1
    cache.delete_many(["k0", "k1"])
    assert cache.get("k0") is None and cache.delete("k2") is True and cache.delete("k2") is False


def use_more(cache):
    cache.set("ttl", 1, timeout=100)
    assert 90 <= cache.ttl("ttl") <= 100 and cache.persist("ttl") and cache.ttl("ttl") is None
    assert cache.expire("ttl", 50) and 40_000 <= cache.pttl("ttl") <= 50_000
    assert sorted(cache.keys("k*")) == sorted(cache.iter_keys("k*", itersize=7))
    assert len(cache.keys("k*")) == KEYS - 3
    assert cache.delete_pattern("k*", itersize=10) == KEYS - 3
    assert cache.set("nx", 1, nx=True) and not cache.set("nx", 2, nx=True)
    assert cache.sadd("set", 1, 2) == 2 and cache.smembers("set") == {1, 2}
    held = []

    def hold():
        with cache.lock("lock", timeout=60, blocking_timeout=60):
            held.append(time.monotonic())
            time.sleep(0.01)
            held.append(time.monotonic())

    threads = [threading.Thread(target=hold) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 10 and held == sorted(held)


def main():
    prefix, *ports = sys.argv[1:]
    backends = {
        "own": "django.core.cache.backends.redis.RedisCache",
        "other": "django_redis.cache.RedisCache",
    }
    caches = {
        f"{name}{port}": {
            "BACKEND": backend,
            "LOCATION": f"redis://127.0.0.1:{port}/1",
            "KEY_PREFIX": f"{prefix}{name}",
        }
        for port in ports
        for name, backend in backends.items()
    }
    settings.configure(CACHES={**caches, "default": caches[f"own{ports[0]}"]}, USE_TZ=True)
    django.setup()
    from django.core.cache import caches as found

    for port in ports:
        use(found[f"own{port}"])
        use(found[f"other{port}"])
        use_more(found[f"other{port}"])
        found[f"other{port}"].clear()
    print("django", django.__version__, "django-redis", django_redis.__version__, *ports, "ok")


if __name__ == "__main__":
    main()
