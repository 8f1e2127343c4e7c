// Tests the fake GitHub server with GitHub's own client libraries and against GitHub's OpenAPI
// description. To run the tests: GITHUB_FAKE=target/debug/github_fake node --test

import "./rest.mjs";
import "./limits.mjs";
import "./webhooks.mjs";
import assert from "node:assert/strict";
import { test } from "node:test";
import { events, operations, seen } from "./shapes.mjs";
import { seenEvents } from "./webhooks.mjs";

// The imported tests run before these tests because they are declared first.
test("every operation was answered with success", () => {
  assert.deepEqual(operations.filter((operation) => !seen.has(operation)), []);
});

test("every event was delivered", () => {
  assert.deepEqual(events.filter((event) => !seenEvents.has(event)), []);
});
