// What users of the SDK do. The address and the key come from the environment, as they do for them.

import {
  batch,
  configure,
  deployments,
  idempotencyKeys,
  runs,
  tasks,
} from "@trigger.dev/sdk";
import { apiClientManager } from "@trigger.dev/core/v3";
import { failureOf, play, sent } from "./play.mjs";

const ONCE = { retry: { maxAttempts: 1 } };

async function everyOption({ task, options }) {
  const key = await idempotencyKeys.create("user-key", { scope: "global" });
  const payload = { a: 1, at: new Date(0) };
  const handle = await tasks.trigger(task, payload, { ...options, idempotencyKey: key });
  return { handle, run: await runs.retrieve(handle.id) };
}

async function payloads({ task, values }) {
  const seen = [];
  for (const value of values) {
    const handle = await tasks.trigger(task, value);
    seen.push((await runs.retrieve(handle)).payload);
  }
  const none = await runs.retrieve(await tasks.trigger(task));
  return { seen, none: "payload" in none && none.payload !== undefined };
}

async function poll({ task, payload }) {
  const handle = await tasks.trigger(task, { ...payload, at: new Date(0) });
  return await runs.poll(handle, { pollIntervalMs: 200 });
}

async function sameKey({ task }) {
  const key = await idempotencyKeys.create(["order", "7"]);
  const first = await tasks.trigger(task, { n: 1 }, { idempotencyKey: key });
  const second = await tasks.trigger(task, { n: 2 }, { idempotencyKey: key });
  const other = await tasks.trigger(task, { n: 3 }, { idempotencyKey: "another" });
  return { first, second, other };
}

async function list({ queries }) {
  const found = [];
  for (const query of queries) {
    const ids = [];
    for await (const run of runs.list({ limit: 2, ...query })) ids.push(run.id);
    found.push(ids);
  }
  return found;
}

async function pages({ query }) {
  const ids = (page) => page.data.map((run) => run.id);
  const first = await runs.list(query);
  const second = await first.getNextPage();
  const third = await second.getNextPage();
  const back = await third.getPreviousPage();
  const start = await back.getPreviousPage();
  return {
    forward: [first, second, third].map(ids),
    backward: [back, start].map(ids),
    ends: [third.hasNextPage(), start.hasPreviousPage()],
    item: first.data[0],
  };
}

async function cancel({ run }) {
  return { answer: await runs.cancel(run), run: await runs.retrieve(run) };
}

async function replay({ run }) {
  const made = await runs.replay(run);
  return { made, run: await runs.retrieve(made.id) };
}

async function reschedule({ run, delays, queued }) {
  const found = [];
  for (const delay of delays) {
    found.push(await runs.reschedule(run, { delay: delay.date ? new Date(delay.date) : delay }));
  }
  return { found, refused: await failureOf(() => runs.reschedule(queued, { delay: "1h" }, ONCE)) };
}

async function tag({ run, tags, more }) {
  const client = apiClientManager.clientOrThrow();
  const answer = await client.addTags(run, { tags });
  const again = await client.addTags(run, { tags: tags[0] });
  const refused = await failureOf(() => client.addTags(run, { tags: more }, ONCE));
  return { answer, again, refused, run: await runs.retrieve(run) };
}

async function versions() {
  return { current: await deployments.retrieveCurrent(), page: await deployments.list({ limit: 5 }) };
}

async function errors({ unknownRun }) {
  const found = {
    unknownRun: await failureOf(() => runs.retrieve(unknownRun, ONCE)),
    cancelUnknown: await failureOf(() => runs.cancel(unknownRun)),
    replayUnknown: await failureOf(() => runs.replay(unknownRun)),
    badMachine: await failureOf(() => tasks.trigger("t", {}, { machine: "huge" })),
    badRegion: await failureOf(() => tasks.trigger("t", {}, { region: "mars-1" })),
    manyTags: await failureOf(() => tasks.trigger("t", {}, { tags: [..."abcdefghijk"] })),
    tooLarge: await failureOf(() =>
      tasks.trigger("t", {}, { metadata: { text: "x".repeat(300_000) } })
    ),
    badStatus: await failureOf(() => runs.list({ status: "SOMEHOW" })),
  };
  configure({ accessToken: "tr_prod_nobody" });
  found.unknownKey = await failureOf(() => tasks.trigger("t", {}));
  return found;
}

async function finished(batchId) {
  for (;;) {
    const read = await batch.retrieve(batchId);
    if (read.status !== "PENDING" && read.status !== "PROCESSING") return read;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function batches({ task, other, count, region }) {
  const payloads = Array.from({ length: count }, (_, n) => ({ payload: { n, name: "Ada" } }));
  const handle = await tasks.batchTrigger(task, payloads);
  const mixed = await batch.trigger([
    { id: task, payload: { n: 1 }, options: { tags: ["a"], delay: "1h" } },
    { id: other, payload: "text" },
    { id: task, payload: {}, options: { region } },
  ]);
  return {
    handle,
    read: await finished(handle.batchId),
    mixed: await batch.retrieve(mixed.batchId),
    results: await apiClientManager.clientOrThrow().getBatchResults(handle.batchId),
  };
}

async function batchKeys({ task, idempotency }) {
  const items = [{ payload: 1 }, { payload: 2 }];
  const idempotencyKey = await idempotencyKeys.create(idempotency, { scope: "global" });
  const first = await sent(() => tasks.batchTrigger(task, items, { idempotencyKey }));
  const second = await sent(() => tasks.batchTrigger(task, items, { idempotencyKey }));
  return { first, second, read: await batch.retrieve(first.batchId) };
}

async function batchStream({ task, count }) {
  async function* slowly() {
    for (let n = 0; n < count; n += 1) {
      yield { id: task, payload: { n } };
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
  const handle = await batch.trigger(slowly());
  return { read: await batch.retrieve(handle.batchId) };
}

async function batchErrors({ task, unknown }) {
  return {
    bad: await failureOf(() => tasks.batchTrigger(task, [{ payload: 1, options: { machine: "huge" } }])),
    unknown: await failureOf(() => apiClientManager.clientOrThrow().retrieveBatch(unknown, ONCE)),
  };
}

await play({
  reschedule,
  everyOption, payloads, poll, sameKey, list, pages, cancel, replay, tag, versions, errors,
  batches, batchKeys, batchStream, batchErrors,
});
