// Drives a cluster of regions through ioredis or node-redis, as a plain and as a cluster client.
// Arguments: the library, "plain" or "cluster", and the ports of the nodes.
//
// The prefixes {eu}, {us} and {ap}, and eu:, us: and ap: without a tag, have homes of their own.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";

const [library, kind, ...ports] = process.argv.slice(2);
// The packages are installed outside the source tree, in the current directory.
const require = createRequire(path.join(process.cwd(), "package.json"));

const TAGGED = ["{eu}:", "{us}:", "{ap}:"];
const PREFIXES = [...TAGGED, "eu:", "us:", "ap:", "nowhere:"];

// Each library behind the same few calls: `call` runs a command, `transaction` several as one.
const libraries = {
  ioredis: {
    async connect(port) {
      const { Redis, Cluster } = require("ioredis");
      const node = { host: "127.0.0.1", port: Number(port) };
      const client =
        kind === "plain"
          ? new Redis({ ...node, maxRetriesPerRequest: 0 })
          : new Cluster([node], { redisOptions: { maxRetriesPerRequest: 0 } });
      return {
        call: (name, ...words) => client.call(name, ...words),
        pipeline: async (commands) => {
          const replies = await client.pipeline(commands).exec();
          return replies.map(([error, reply]) => {
            assert.ifError(error);
            return reply;
          });
        },
        transaction: async (commands) => {
          const replies = await client.multi(commands).exec();
          return replies.map(([error, reply]) => {
            assert.ifError(error);
            return reply;
          });
        },
        end: () => client.disconnect(),
      };
    },
  },
  "node-redis": {
    async connect(port) {
      const { createClient, createCluster } = require("redis");
      const url = `redis://127.0.0.1:${port}`;
      const client = kind === "plain" ? createClient({ url }) : createCluster({ rootNodes: [{ url }] });
      client.on("error", (error) => {
        throw error;
      });
      await client.connect();
      const call = (name, ...words) =>
        kind === "plain"
          ? client.sendCommand([name, ...words])
          : client.sendCommand(words[0], name === "GET", [name, ...words]);
      return {
        call,
        pipeline: (commands) => Promise.all(commands.map(([name, ...words]) => call(name, ...words))),
        transaction: async (commands) => {
          const multi = client.multi();
          for (const [name, ...words] of commands) {
            multi[name](...words);
          }
          return multi.exec();
        },
        end: () => client.destroy(),
      };
    },
  },
};

async function values(client, prefix) {
  const [k, n] = [`${prefix}k`, `${prefix}n`];
  await client.call("DEL", k);
  await client.call("DEL", n);
  assert.equal(await client.call("SET", k, "v"), "OK");
  assert.equal(await client.call("GET", k), "v");
  assert.equal(await client.call("GET", `${prefix}none`), null);
  assert.equal(Number(await client.call("APPEND", k, "w")), 2);
  const counted = await client.pipeline(Array.from({ length: 100 }, () => ["incr", n]));
  assert.deepEqual(counted.map(Number), Array.from({ length: 100 }, (_, at) => at + 1));
}

async function transactions(client, prefix) {
  const n = `${prefix}n`;
  const replies = await client.transaction([["incr", n], ["get", n]]);
  assert.deepEqual(replies.map(String), ["101", "101"]);
}

async function main() {
  for (const port of ports) {
    const client = await libraries[library].connect(port);
    for (const prefix of PREFIXES) {
      await values(client, prefix);
      if (kind === "plain" || TAGGED.includes(prefix)) {
        await transactions(client, prefix);
      }
    }
    if (kind === "plain") {
      const keys = PREFIXES.map((prefix) => `${prefix}k`);
      assert.deepEqual(await client.call("MGET", ...keys), keys.map(() => "vw"));
      assert.equal(Number(await client.call("DBSIZE")), 2 * PREFIXES.length);
    }
    client.end();
  }
  const { version } = require(`${library === "ioredis" ? "ioredis" : "redis"}/package.json`);
  console.log(library, version, kind, "ok");
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
