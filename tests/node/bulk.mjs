// What users of the SDK do to many runs at once. The address and the key come from the environment,
// as they do for them.

import { runs, tasks } from "@trigger.dev/sdk";
import { failureOf, play } from "./play.mjs";

const ONCE = { retry: { maxAttempts: 1 } };
const SOON = { pollIntervalMs: 200 };

async function waiting(task, tag, count) {
  const ids = [];
  for (let n = 0; n < count; n++) {
    ids.push((await tasks.trigger(task, { n }, { delay: "1h", tags: [tag] })).id);
  }
  return ids;
}

async function cancel({ task, count }) {
  const ids = await waiting(task, "to-cancel", count);
  const begun = await runs.bulk.cancel({ filter: { tag: "to-cancel" }, name: "clean up" });
  const ended = await runs.bulk.poll(begun.id, SOON);
  const reached = [];
  for await (const run of runs.list({ bulkAction: begun.id })) reached.push([run.id, run.status]);
  return { ids, begun, ended, reached };
}

async function replay({ task }) {
  const ids = await waiting(task, "to-replay", 2);
  const begun = await runs.bulk.replay({ runIds: ids, targetRegion: "eu-central-1" });
  const ended = await runs.bulk.poll(begun.id, SOON);
  const made = [];
  for await (const run of runs.list({ bulkAction: begun.id })) made.push(run.region);
  const listed = await runs.bulk.list({ limit: 1 });
  return { begun, ended, made, listed: listed.data, hasNext: listed.hasNextPage() };
}

async function refused() {
  const unknown = await failureOf(() => runs.bulk.retrieve("bulk_nobodys", ONCE));
  const nothing = await failureOf(() => runs.bulk.cancel({ filter: { tag: "nobody" } }, ONCE));
  const empty = await failureOf(() => runs.bulk.cancel({ filter: {} }, ONCE));
  return { unknown, nothing, empty };
}

async function abort({ task }) {
  const ids = await waiting(task, "to-abort", 1);
  const begun = await runs.bulk.cancel({ runIds: ids });
  const ended = await runs.bulk.poll(begun.id, SOON);
  return { ended, late: await failureOf(() => runs.bulk.abort(begun.id, ONCE)) };
}

await play({ cancel, replay, refused, abort });
