// Drives a server through ioredis. Arguments: the port, and the protocol version.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";

const [port, protocol] = process.argv.slice(2).map(Number);
// The package is installed outside the source tree, in the current directory.
const require = createRequire(path.join(process.cwd(), "package.json"));
const { Redis, ReplyError } = require("ioredis");

const open = [];
function connect(options = {}) {
  const redis = new Redis({ port, host: "127.0.0.1", protocol, maxRetriesPerRequest: 0, ...options });
  open.push(redis);
  return redis;
}

async function main() {
  const r = connect();
  assert.equal(await r.ping(), "PONG");
  assert.equal(await r.flushall(), "OK");

  // Values.
  assert.equal(await r.set("k", "v"), "OK");
  assert.equal(await r.get("k"), "v");
  assert.equal(await r.get("absent"), null);
  assert.equal(await r.set("k", "w", "NX"), null);
  assert.equal(await r.set("k", "w", "GET"), "v");
  const binary = Buffer.from([...Array(256).keys()]);
  await r.set(binary, binary);
  assert.deepEqual(await r.getBuffer(binary), binary);
  assert.equal(await r.mset({ a: 1, b: 2 }), "OK");
  assert.deepEqual(await r.mget("a", "b", "absent"), ["1", "2", null]);
  assert.equal(await r.incr("a"), 2);
  assert.equal(await r.incrbyfloat("f", 0.5), "0.5");
  assert.equal(await r.append("k", "!"), 2);
  assert.equal(await r.exists("a", "b", "absent"), 2);
  assert.equal(await r.del("a", "b", "absent"), 2);
  assert.equal(await r.setbit("bits", 7, 1), 0);
  assert.equal(await r.bitcount("bits"), 1);

  // Expiry.
  assert.equal(await r.set("t", "v", "EX", 100), "OK");
  const ttl = await r.ttl("t");
  assert.ok(ttl > 0 && ttl <= 100, String(ttl));
  assert.equal(await r.expireat("t", 33177117420), 1);
  assert.equal(await r.expiretime("t"), 33177117420);
  assert.equal(await r.persist("t"), 1);
  assert.equal(await r.ttl("t"), -1);

  // Pipelines and transactions.
  const pipeline = r.pipeline();
  for (let n = 0; n < 1000; n++) pipeline.set(`p:${n}`, n).incr(`p:${n}`);
  const replies = await pipeline.exec();
  assert.deepEqual(replies[1998], [null, "OK"]);
  assert.deepEqual(replies[1999], [null, 1000]);
  assert.deepEqual(await r.multi().incr("n").get("n").exec(), [[null, 1], [null, "1"]]);
  const mixed = await r.multi().set("s", "text").incr("s").get("s").exec();
  assert.ok(mixed[1][0] instanceof Error && mixed[1][0].message.startsWith("ERR value is not an integer"));
  assert.deepEqual(mixed[2], [null, "text"]);
  await r.watch("n");
  await connect().set("n", "changed");
  assert.equal(await r.multi().set("n", "lost").exec(), null);
  assert.equal(await r.get("n"), "changed");
  await assert.rejects(r.multi().set("n").exec(), /EXECABORT|wrong number of arguments/);
  const automatic = connect({ enableAutoPipelining: true });
  assert.deepEqual(await Promise.all(["k", "absent", "n"].map((key) => automatic.get(key))), ["w!", null, "changed"]);

  // Iteration.
  const found = new Set();
  for await (const keys of r.scanStream({ match: "p:*", count: 50 })) keys.forEach((key) => found.add(key));
  assert.equal(found.size, 1000);
  assert.equal((await r.keys("p:99?")).length, 10);

  // Databases.
  const other = connect({ db: 5 });
  assert.equal(await other.get("k"), null);
  assert.equal(await r.copy("k", "k", "DB", 5), 1);
  assert.equal(await other.get("k"), "w!");
  assert.equal(await other.flushdb(), "OK");

  // Clients that wait for keys, as queues on top of ioredis do: on connections of their own, with
  // time-outs that have fractions.
  const waiter = connect();
  const pushes = async (waiting, push) => {
    const reply = waiting();
    while (!/blocked_clients:1/.test(await r.info("clients")));
    await push();
    return reply;
  };
  assert.deepEqual(await pushes(() => waiter.blpop("jobs", "more", 0), () => r.rpush("more", "a")), ["more", "a"]);
  assert.equal(await pushes(() => waiter.blmove("jobs", "done", "LEFT", "RIGHT", 0), () => r.lpush("jobs", "b")), "b");
  assert.deepEqual(await pushes(() => waiter.bzpopmin("marker", 10.5), () => r.zadd("marker", 0, "0")), ["marker", "0", "0"]);
  assert.equal(await waiter.bzpopmin("marker", 0.002), null);
  assert.equal(await waiter.brpoplpush("jobs", "done", 0.01), null);

  // Errors.
  await assert.rejects(r.incr("k"), (error) => error instanceof ReplyError && /^ERR value is not an integer/.test(error.message));
  await assert.rejects(r.call("NOPE"), /ERR unknown command 'NOPE'/);
  await assert.rejects(r.call("GET"), /ERR wrong number of arguments for 'get' command/);
  await assert.rejects(r.select(99), /ERR DB index is out of range/);

  // Scripts: EVAL once, then EVALSHA.
  r.defineCommand("moveOne", {
    numberOfKeys: 2,
    lua: "local id = redis.call('RPOP', KEYS[1]) if id then redis.call('LPUSH', KEYS[2], id) end return {id, ARGV[1]}",
  });
  await r.rpush("from", "a", "b");
  assert.deepEqual(await r.moveOne("from", "to", "x"), ["b", "x"]);
  assert.deepEqual(await r.moveOne("from", "to", "y"), ["a", "y"]);
  assert.deepEqual(await r.moveOne("from", "to", "z"), [null, "z"]);
  assert.deepEqual(await r.pipeline().moveOne("to", "from", 1).llen("from").exec(), [[null, ["b", "1"]], [null, 1]]);
  await r.script("FLUSH");
  assert.deepEqual(await r.moveOne("to", "from", "w"), ["a", "w"]);
  await assert.rejects(r.eval("return nosuch", 0), /nonexistent global variable 'nosuch'/);

  // What connections and tools ask.
  assert.match(await r.info(), /redis_version:7\./);
  assert.equal(await r.client("SETNAME", "me"), "OK");
  assert.equal(await r.client("GETNAME"), "me");
  assert.equal(await r.echo("hello"), "hello");
  const monitor = await connect().monitor();
  const seen = new Promise((resolve) => monitor.on("monitor", (_, args) => args.includes("monitored") && resolve(args)));
  await r.set("monitored", "1");
  assert.deepEqual((await seen).map((word) => word.toLowerCase()), ["set", "monitored", "1"]);
  monitor.disconnect();

  // Channels and patterns.
  const listener = connect();
  const said = [];
  let arrived = () => {};
  const hear = (...words) => {
    said.push(words.join(" "));
    arrived();
  };
  listener.on("message", hear);
  listener.on("pmessage", hear);
  assert.equal(await listener.subscribe("news", "sports"), 2);
  assert.equal(await listener.psubscribe("n*"), 3);
  assert.equal(await r.publish("news", "hello"), 2);
  assert.deepEqual((await r.multi().publish("sports", "in a transaction").exec())[0], [null, 1]);
  while (said.length < 3) await new Promise((resolve) => (arrived = resolve));
  assert.deepEqual(said, ["news hello", "n* news hello", "sports in a transaction"]);
  assert.equal(await listener.unsubscribe("news", "sports"), 1);
  assert.equal(await listener.punsubscribe("n*"), 0);
  assert.deepEqual(await r.pubsub("CHANNELS"), []);
  assert.equal(await connect().quit(), "OK");
}

await main();
open.forEach((redis) => redis.disconnect());
console.log("ioredis", require("ioredis/package.json").version, "RESP", protocol, "ok");
