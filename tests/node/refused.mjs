// What users of the SDK are told about what there is not (docs/sdk.md).

import { envvars, schedules, tasks, wait } from "@trigger.dev/sdk";
import { failureOf, play } from "./play.mjs";

const ONCE = { retry: { maxAttempts: 1 } };

async function everything({ task }) {
  const large = { text: "x".repeat(140_000) };
  const debounce = { debounce: { key: "k", delay: "10s" } };
  return {
    large: await failureOf(() => tasks.trigger(task, large, {}, ONCE)),
    debounce: await failureOf(() => tasks.trigger(task, {}, debounce, ONCE)),
    pinned: await failureOf(() => tasks.trigger(task, {}, { externalDeploymentId: "a" }, ONCE)),
    schedules: await failureOf(() => schedules.list({}, ONCE)),
    envvars: await failureOf(() => envvars.list("proj_x", "prod", ONCE)),
    token: await failureOf(() => wait.createToken({ timeout: "10m" }, ONCE)),
  };
}

await play({ everything });
