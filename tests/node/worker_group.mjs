// What a supervisor does, with the client that supervisors use.

import { SupervisorHttpClient } from "@trigger.dev/core/v3/runEngineWorker";
import { play, sent } from "./play.mjs";

function clientOf({ token, secret }) {
  return new SupervisorHttpClient({
    apiUrl: process.env.TRIGGER_API_URL,
    workerToken: token,
    instanceName: "node-supervisor",
    managedWorkerSecret: secret,
  });
}

async function greet(given) {
  const client = clientOf(given);
  const usage = { used: 0.5, available: 0.5 };
  return {
    connected: await sent(() => client.connect({ metadata: { workerVersion: "1" } })),
    heartbeat: await client.heartbeatWorker({ cpu: usage, memory: usage, tasks: [] }),
    nothing: await client.dequeue({ maxResources: { cpu: 1, memory: 1 } }),
  };
}

async function lease(client) {
  const leased = await client.dequeue({ maxResources: { cpu: 4, memory: 8 } });
  return leased.success ? leased.data[0] : Promise.reject(new Error(leased.error));
}

async function begin(client, runner) {
  const message = await lease(client);
  const run = message.run.friendlyId;
  const started = await client.startRunAttempt(
    run, message.snapshot.friendlyId, { isWarmStart: false }, runner, message.environment.id
  );
  if (!started.success) throw new Error(started.error);
  return { message, run, started, snapshot: started.data.snapshot.friendlyId };
}

async function succeed(given) {
  const client = clientOf(given);
  const { message, run, started, snapshot } = await begin(client, "runner-1");
  return {
    message,
    started,
    heartbeat: await client.heartbeatRun(run, snapshot, { cpu: 0.1, memory: 0.2 }, "runner-1"),
    latest: await client.getLatestSnapshot(run, "runner-1"),
    since: await client.getSnapshotsSince(run, message.snapshot.friendlyId, "runner-1"),
    completed: await client.completeRunAttempt(
      run,
      snapshot,
      {
        completion: {
          ok: true,
          id: run,
          output: '{"json":{"done":true}}',
          outputType: "application/super+json",
          usage: { durationMs: 12 },
          taskIdentifier: started.data.execution.task.id,
        },
      },
      "runner-1"
    ),
    final: await client.getLatestSnapshot(run, "runner-1"),
  };
}

async function fail(given) {
  const client = clientOf(given);
  const { run, started, snapshot } = await begin(client, "runner-1");
  const failure = (retry) => ({
    completion: {
      ok: false,
      id: run,
      error: { type: "BUILT_IN_ERROR", name: "TypeError", message: "no", stackTrace: "at x" },
      retry,
      skippedRetrying: retry === undefined,
      usage: { durationMs: 3 },
      taskIdentifier: started.data.execution.task.id,
    },
  });
  const retry = { timestamp: Date.now() + 100, delay: 100 };
  const first = await client.completeRunAttempt(run, snapshot, failure(retry), "runner-1");
  const waiting = first.data.result.snapshot.friendlyId;
  const again = await client.startRunAttempt(run, waiting, {}, "runner-1");
  const running = again.data.snapshot.friendlyId;
  const last = await client.completeRunAttempt(run, running, failure(undefined), "runner-1");
  return { first, again, last };
}

async function stale(given) {
  const client = clientOf(given);
  const { message, run, started, snapshot } = await begin(client, "runner-1");
  const leased = message.snapshot.friendlyId;
  const completion = { completion: { ok: true, id: run, outputType: "text/plain", output: "x" } };
  return {
    started,
    repeated: await sent(() => client.startRunAttempt(run, leased, {}, "runner-1")),
    stolen: await sent(() => client.startRunAttempt(run, leased, {}, "runner-2")),
    completedStale: await sent(() => client.completeRunAttempt(run, leased, completion, "runner-2")),
    continued: await sent(() => client.continueRunExecution(run, snapshot, "runner-1")),
    completed: await client.completeRunAttempt(run, snapshot, completion, "runner-1"),
  };
}

async function canceled(given) {
  const client = clientOf(given);
  const { run, snapshot } = await begin(client, "runner-1");
  const headers = { authorization: `Bearer ${process.env.TRIGGER_SECRET_KEY}` };
  await fetch(`${process.env.TRIGGER_API_URL}/api/v2/runs/${run}/cancel`, { method: "POST", headers });
  const since = await client.getSnapshotsSince(run, snapshot, "runner-1");
  const pending = since.data.snapshots.at(-1).snapshot;
  const error = { type: "INTERNAL_ERROR", code: "TASK_RUN_CANCELLED" };
  const ended = await client.completeRunAttempt(
    run, pending.friendlyId, { completion: { ok: false, id: run, error } }, "runner-1"
  );
  return { run, since, ended };
}

async function strangers({ token, secret, otherToken, run, snapshot }) {
  const other = clientOf({ token: otherToken, secret });
  return {
    unknownToken: await sent(() => clientOf({ token: "tr_wgt_nobody", secret }).connect({ metadata: {} })),
    wrongSecret: await sent(() => clientOf({ token, secret: "wrong" }).connect({ metadata: {} })),
    anothersRun: await sent(() => other.startRunAttempt(run, snapshot, {}, "runner-1")),
    unknownRun: await sent(() => other.getLatestSnapshot("run_0123456789abcdefghijklmno", "runner-1")),
  };
}

await play({ greet, succeed, fail, stale, canceled, strangers });
