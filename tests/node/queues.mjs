// What users of the SDK do with queues and idempotency keys. The address and the key come from the
// environment, as they do for them.

import { idempotencyKeys, queues, runs, tasks } from "@trigger.dev/sdk";
import { failureOf, play } from "./play.mjs";

const ONCE = { retry: { maxAttempts: 1 } };

async function read({ names }) {
  const first = await queues.list({ perPage: 1 });
  const second = await first.getNextPage();
  const all = await queues.list();
  const found = [];
  for (const name of names) found.push(await queues.retrieve(name));
  const byId = await queues.retrieve(found[0].id);
  return {
    pages: [first, second].map((page) => page.data.map((queue) => queue.name)),
    ends: [first.hasPreviousPage(), second.hasNextPage()],
    all: all.data,
    found,
    byId,
  };
}

async function pauseAndResume({ task, queue }) {
  const paused = await queues.pause(queue);
  const handle = await tasks.trigger(task, { name: "Ada" });
  const waiting = { queue: await queues.retrieve(queue), run: await runs.retrieve(handle.id) };
  const resumed = await queues.resume(queue);
  const done = await runs.poll(handle, { pollIntervalMs: 200 });
  return { paused, waiting, resumed, done };
}

async function limit({ queue }) {
  const overridden = await queues.overrideConcurrencyLimit(queue, 2);
  const reset = await queues.resetConcurrencyLimit(queue);
  const again = await failureOf(() => queues.resetConcurrencyLimit(queue, ONCE));
  const tooMuch = await failureOf(() => queues.overrideConcurrencyLimit(queue, 100_000, ONCE));
  const unknown = await failureOf(() => queues.retrieve("queue_nobodys", ONCE));
  const strange = await failureOf(() => queues.pause({ type: "custom", name: "a/b" }, ONCE));
  return { overridden, reset, again, tooMuch, unknown, strange };
}

async function forgetKey({ task }) {
  const key = await idempotencyKeys.create("order-7", { scope: "global" });
  const first = await tasks.trigger(task, {}, { idempotencyKey: key });
  const cached = await tasks.trigger(task, {}, { idempotencyKey: key });
  const reset = await idempotencyKeys.reset(task, key);
  const second = await tasks.trigger(task, {}, { idempotencyKey: key });
  const byName = await idempotencyKeys.reset(task, "order-7", { scope: "global" });
  const nothing = await failureOf(() => idempotencyKeys.reset(task, key));
  return { key, first, cached, reset, second, byName, nothing };
}

await play({ read, pauseAndResume, limit, forgetKey });
