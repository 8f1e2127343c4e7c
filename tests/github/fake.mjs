// Starts the fake GitHub server and sends commands to its control interface.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** Starts the program whose path is in the GITHUB_FAKE environment variable. */
export async function start() {
  const program = process.env.GITHUB_FAKE;
  if (!program) throw new Error("set GITHUB_FAKE to the path of the program github_fake");
  const child = spawn(program, { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const url = (await lines.next()).value;
  const control = (await lines.next()).value;
  if (!control) throw new Error(`${program} did not print its addresses`);
  return {
    url,
    stop: () => child.stdin.end(),
    /** Sends a command to the control interface and returns the result. */
    async run(command, args = {}) {
      const response = await fetch(`${control}/${command}`, { method: "POST", body: JSON.stringify(args) });
      const result = await response.json();
      if (!response.ok) throw new Error(`${command}: ${result.error}`);
      return result;
    },
  };
}
