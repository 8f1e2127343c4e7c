// Tests the events that a webhook receives. Checks their signatures with @octokit/webhooks-methods.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { sign, verify } from "@octokit/webhooks-methods";
import { start } from "./fake.mjs";
import { appToken, client } from "./rest.mjs";
import { checkEvent } from "./shapes.mjs";

/** The names of all events that have been received. */
export const seenEvents = new Set();

const secret = "datakit\u00e9";

describe("webhooks", () => {
  const repo = { owner: "octo", repo: "hooked" };
  let fake, octokit, sha, receiver;
  let received = [];

  /**
   * Waits for all deliveries and returns the events received since the last call to this function.
   */
  async function settled() {
    assert.equal((await fake.run("settle")).lost, 0);
    return received.splice(0);
  }

  const named = (list) => list.map(({ event, body }) => (body.action ? `${event}.${body.action}` : event));

  before(async () => {
    fake = await start();
    sha = await fake.run("create", { repo: "octo/hooked" });
    octokit = client(fake.url, await fake.run("token"));
    receiver = createServer(async (request, response) => {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      const raw = Buffer.concat(chunks).toString();
      const form = request.headers["content-type"] === "application/x-www-form-urlencoded";
      const body = JSON.parse(form ? new URLSearchParams(raw).get("payload") : raw);
      const signature = request.headers["x-hub-signature-256"];
      const event = request.headers["x-github-event"];
      received.push({ event, body, raw, signature, form, id: request.headers["x-github-delivery"] });
      seenEvents.add(checkEvent(event, body));
      response.end("ok");
    });
    await new Promise((ready) => receiver.listen(0, "127.0.0.1", ready));
    const config = { url: `http://127.0.0.1:${receiver.address().port}/hook`, content_type: "json", secret };
    await octokit.repos.createWebhook({ ...repo, config, events: ["*"] });
  });
  after(() => {
    fake.stop();
    receiver.close();
  });

  test("a new webhook is pinged", async () => {
    assert.deepEqual(named(await settled()), ["ping"]);
  });

  test("each change has its events", async () => {
    const on = (command, args) => fake.run(command, { repo: "octo/hooked", ...args });
    await on("push", { branch: "topic" });
    assert.deepEqual(named(await settled()), ["create", "push"]);
    const number = await on("open_pull", { branch: "topic", title: "One" });
    await on("push", { branch: "topic" });
    await on("edit_pull", { number, title: "Two" });
    await on("comment", { number, body: "Hello" });
    await on("close_pull", { number });
    await on("reopen_pull", { number });
    await on("status", { sha, context: "ci/x", state: "success" });
    await on("delete_ref", { ref: "refs/heads/topic" });
    assert.deepEqual(named(await settled()), [
      "pull_request.opened", "push", "pull_request.synchronize", "pull_request.edited",
      "issue_comment.created", "pull_request.closed", "pull_request.reopened", "status",
      "delete", "push", "pull_request.closed",
    ]);
    await on("tag", { name: "v1", sha });
    const [created, pushed] = await settled();
    assert.deepEqual([created.body.ref_type, created.body.ref, pushed.body.ref], ["tag", "v1", "refs/tags/v1"]);
  });

  test("a change through the API has the same events", async () => {
    await octokit.git.createRef({ ...repo, ref: "refs/heads/api", sha });
    await octokit.repos.createCommitStatus({ ...repo, sha, state: "failure" });
    assert.deepEqual(named(await settled()), ["create", "push", "status"]);
  });

  test("check runs have events", async () => {
    const app = await fake.run("app");
    const installation_id = await fake.run("install", { app: app.id, account: "octo" });
    const { data } = await client(fake.url, appToken(app)).apps.createInstallationAccessToken({ installation_id });
    const { checks } = client(fake.url, data.token);
    const run = await checks.create({ ...repo, name: "build", head_sha: sha });
    await checks.update({ ...repo, check_run_id: run.data.id, conclusion: "success" });
    await checks.rerequestRun({ ...repo, check_run_id: run.data.id });
    assert.deepEqual(named(await settled()), ["check_run.created", "check_run.completed", "check_run.rerequested"]);
    const port = receiver.address().port;
    await fake.run("app_hook", { app: app.id, url: `http://127.0.0.1:${port}/app`, secret, events: ["check_run"] });
    await checks.create({ ...repo, name: "again", head_sha: sha });
    const both = await settled();
    assert.deepEqual(both.map(({ body }) => body.installation?.id), [undefined, installation_id]);
  });

  test("the signature covers the raw body", async () => {
    await fake.run("status", { repo: "octo/hooked", sha, context: "\u00e9", state: "success", description: "\u2603" });
    const [{ raw, signature }] = await settled();
    assert.ok(await verify(secret, raw, signature));
    assert.equal(signature, await sign(secret, raw));
    assert.ok(!(await verify(secret, raw + " ", signature)));
    assert.ok(!(await verify("other", raw, signature)));
  });

  test("faults lose, double, swap, delay and forge deliveries", async () => {
    const status = (context) => fake.run("status", { repo: "octo/hooked", sha, context, state: "success" });
    const contexts = (list) => list.map(({ body }) => body.context);
    await fake.run("fault_delivery", { event: "status", fault: "drop" });
    await status("dropped");
    assert.deepEqual(await settled(), []);
    await fake.run("fault_delivery", { event: "status", fault: "double" });
    await status("doubled");
    const twice = await settled();
    assert.equal(twice.length, 2);
    assert.equal(twice[0].id, twice[1].id);
    await fake.run("fault_delivery", { event: "status", fault: "swap" });
    await status("first");
    await status("second");
    assert.deepEqual(contexts(await settled()), ["second", "first"]);
    await fake.run("fault_delivery", { event: "status", fault: "swap" });
    await status("alone");
    assert.deepEqual(contexts(await settled()), ["alone"]);
    await fake.run("fault_delivery", { event: "status", fault: "delay", time: 100 });
    await status("slow");
    await status("fast");
    assert.deepEqual(contexts(await settled()), ["fast", "slow"]);
    await fake.run("fault_delivery", { event: "status", fault: "bad_signature" });
    await status("forged");
    const [{ raw, signature }] = await settled();
    assert.ok(!(await verify(secret, raw, signature)));
  });

  test("a webhook may ask for forms and for some events", async () => {
    const [{ id }] = (await octokit.repos.listWebhooks(repo)).data;
    const config = { url: `http://127.0.0.1:${receiver.address().port}/form`, content_type: "form", secret };
    await octokit.repos.updateWebhook({ ...repo, hook_id: id, config, events: ["status"] });
    await fake.run("push", { repo: "octo/hooked", branch: "quiet" });
    await fake.run("status", { repo: "octo/hooked", sha, state: "success" });
    const list = await settled();
    assert.deepEqual(named(list), ["status"]);
    assert.ok(list[0].form);
    assert.ok(await verify(secret, list[0].raw, list[0].signature));
  });
});
