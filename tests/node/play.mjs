// Plays one scenario named on the command line and prints what it found as one line of JSON.

let requests = 0;
const send = globalThis.fetch;
globalThis.fetch = (...call) => {
  requests += 1;
  return send(...call);
};

// What a call gave, and how many requests it took.
export async function sent(call) {
  const before = requests;
  const answer = await call();
  return { ...answer, requests: requests - before };
}

export async function play(scenarios) {
  const [, , name, given] = process.argv;
  const found = await scenarios[name](JSON.parse(given));
  process.stdout.write(`${JSON.stringify(found)}\n`);
}

// What a caller learns from a failure of the SDK, and how many requests it took.
export async function failureOf(call) {
  return await sent(async () => {
    try {
      return { succeeded: await call() };
    } catch (error) {
      const { name, status, message } = error;
      return { class: error.constructor.name, name, status, message };
    }
  });
}
