// Drives channels through node-redis. Arguments: the port, and the protocol version.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";

const [port, protocol] = process.argv.slice(2).map(Number);
// The package is installed outside the source tree, in the current directory.
const require = createRequire(path.join(process.cwd(), "package.json"));
const { createClient } = require("redis");

const open = [];
async function connect() {
  const client = createClient({ socket: { host: "127.0.0.1", port }, RESP: protocol });
  client.on("error", () => {});
  open.push(client);
  await client.connect();
  return client;
}

const [r, listener] = [await connect(), await connect()];
const said = [];
let arrived = () => {};
const hear = (message, channel) => {
  said.push(`${channel} ${message}`);
  arrived();
};
await listener.subscribe("news", hear);
await listener.pSubscribe("n*", hear);
await listener.sSubscribe("shard", hear);
assert.equal(await r.publish("news", "hello"), 2);
assert.equal(await r.sPublish("shard", "hello"), 1);
while (said.length < 3) await new Promise((resolve) => (arrived = resolve));
assert.deepEqual(said, ["news hello", "news hello", "shard hello"]);
assert.deepEqual(await r.pubSubChannels(), ["news"]);
await listener.unsubscribe();
await listener.pUnsubscribe();
await listener.sUnsubscribe();
assert.equal(await r.publish("news", "nobody"), 0);
assert.equal(String(await listener.ping()), "PONG");
open.forEach((client) => client.destroy());
console.log("node-redis", require("redis/package.json").version, "RESP", protocol, "ok");
