// Runs jobs through BullMQ. Arguments: the prefix of its keys, and the ports of nodes: jobs are
// added through the first one and worked on through the last one.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";

const [prefix, ...ports] = process.argv.slice(2);
// The package is installed outside the source tree, in the current directory.
const require = createRequire(path.join(process.cwd(), "package.json"));
const { FlowProducer, Queue, QueueEvents, Worker } = require("bullmq");

const JOBS = 100;
const DELAY_MS = 300;
const WAIT_MS = 60_000;

const at = (port) => ({
  connection: { host: "127.0.0.1", port: Number(port), maxRetriesPerRequest: null },
  prefix,
});
const [asked, working] = [at(ports[0]), at(ports.at(-1))];

const runs = new Map();
async function work(job) {
  const run = 1 + (runs.get(job.id) ?? 0);
  runs.set(job.id, run);
  switch (job.name) {
    case "double":
      await job.updateProgress(50);
      return 2 * job.data.number;
    case "flaky":
      if (run < 3) throw new Error(`run ${run}`);
      return run;
    case "hopeless":
      throw new Error("never");
    case "sum": {
      const children = Object.values(await job.getChildrenValues());
      return children.reduce((sum, value) => sum + value, 0);
    }
    default:
      return Date.now();
  }
}

async function main() {
  const queue = new Queue("jobs", asked);
  const events = new QueueEvents("jobs", asked);
  const flows = new FlowProducer(asked);
  const worker = new Worker("jobs", work, { ...working, concurrency: 5 });
  const broken = [];
  for (const part of [queue, events, flows, worker]) {
    part.on("error", (error) => broken.push(error));
  }
  await Promise.all([queue.waitUntilReady(), events.waitUntilReady(), worker.waitUntilReady()]);
  const results = (jobs) => Promise.all(jobs.map((job) => job.waitUntilFinished(events, WAIT_MS)));

  // Many jobs, each done once.
  const numbers = Array.from({ length: JOBS }, (_, number) => number);
  const many = numbers.map((number) => ({ name: "double", data: { number } }));
  const jobs = await queue.addBulk(many);
  assert.deepEqual(await results(jobs), numbers.map((number) => 2 * number));
  assert.ok(jobs.every((job) => runs.get(job.id) === 1));
  assert.equal((await queue.getJobCounts("completed")).completed, JOBS);

  // Delays.
  const delayed = [];
  for (let number = 0; number < 10; number += 1) {
    delayed.push(await queue.add("when", {}, { delay: DELAY_MS }));
  }
  for (const [index, done] of (await results(delayed)).entries()) {
    assert.ok(done - delayed[index].timestamp >= DELAY_MS, `${done - delayed[index].timestamp} ms`);
  }

  // Attempts.
  const patient = { attempts: 3, backoff: { type: "fixed", delay: 50 } };
  const flaky = await queue.add("flaky", {}, patient);
  const hopeless = await queue.add("hopeless", {}, patient);
  assert.equal(await flaky.waitUntilFinished(events, WAIT_MS), 3);
  await assert.rejects(hopeless.waitUntilFinished(events, WAIT_MS), /never/);
  assert.equal((await queue.getJob(hopeless.id)).attemptsMade, 3);
  assert.equal((await queue.getFailed()).length, 1);

  // The same job twice is one; priorities are an order.
  const once = await queue.add("when", {}, { jobId: "only" });
  assert.equal((await queue.add("when", {}, { jobId: "only" })).id, once.id);
  await results([once]);
  await queue.pause();
  const ranked = [];
  for (const priority of [3, 1, 2]) {
    ranked.push(await queue.add("when", {}, { priority }));
  }
  assert.deepEqual(await queue.getCountsPerPriority([1, 2, 3]), { 1: 1, 2: 1, 3: 1 });
  await queue.resume();
  await results(ranked);

  // A parent waits for its children.
  const children = [1, 2, 3].map((number) => ({ name: "double", queueName: "jobs", data: { number } }));
  const flow = await flows.add({ name: "sum", queueName: "jobs", children });
  assert.deepEqual(await results([flow.job]), [12]);

  // A schedule.
  const ticks = new Promise((resolve) => {
    let left = 3;
    worker.on("completed", (job) => {
      left -= job.name === "tick" ? 1 : 0;
      if (left === 0) resolve();
    });
  });
  await queue.upsertJobScheduler("clock", { every: 100 }, { name: "tick" });
  await ticks;
  assert.equal(await queue.removeJobScheduler("clock"), true);

  // An end of it.
  await worker.close();
  await events.close();
  await flows.close();
  assert.ok((await queue.clean(0, 1000, "completed")).length > JOBS);
  await queue.obliterate({ force: true });
  await queue.close();
  assert.deepEqual(broken, []);
  const { version } = require("bullmq/package.json");
  console.log("bullmq", version, ...ports, "ok");
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
