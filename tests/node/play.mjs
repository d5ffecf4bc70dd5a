// Plays one scenario named on the command line and prints what it found as one line of JSON.

export async function play(scenarios) {
  const [, , name, given] = process.argv;
  const found = await scenarios[name](JSON.parse(given));
  process.stdout.write(`${JSON.stringify(found)}\n`);
}

// What a caller learns from a failure of the SDK.
export async function failureOf(call) {
  const began = Date.now();
  try {
    return { succeeded: await call() };
  } catch (error) {
    const { name, status, message } = error;
    return { class: error.constructor.name, name, status, message, tookMs: Date.now() - began };
  }
}
