// Tests the REST API with the @octokit/rest client library. The client checks every request and
// response against GitHub's OpenAPI description.

import assert from "node:assert/strict";
import { createSign } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { Octokit } from "@octokit/rest";
import { start } from "./fake.mjs";
import { checked } from "./shapes.mjs";

/** Returns a client that checks every request and response and prints no warnings. */
export function client(baseUrl, auth) {
  const quiet = { debug() {}, info() {}, warn() {}, error() {} };
  return new Octokit({ auth, baseUrl, log: quiet, request: { fetch: checked(baseUrl) } });
}

/**
 * Checks that `promise` fails with an error that has the given status and contains the given text.
 */
export async function refused(promise, status, text = "") {
  await assert.rejects(promise, (error) => {
    assert.equal(error.status, status, error.message);
    assert.ok(error.message.includes(text), error.message);
    return true;
  });
}

/**
 * Returns a token that authenticates an app. `claims` overrides some of the token's valid claims.
 */
export function appToken(app, claims = {}, change = (token) => token) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const now = Math.floor(Date.now() / 1000);
  const body = { iat: now - 30, exp: now + 300, iss: String(app.id), ...claims };
  const signed = `${encode({ alg: "RS256", typ: "JWT" })}.${encode(body)}`;
  return change(`${signed}.${createSign("RSA-SHA256").update(signed).sign(app.key, "base64url")}`);
}

for (const base of ["", "/api/v3"]) {
  describe(`the REST API at ${base || "/"}`, () => {
    const repo = { owner: "octo", repo: "hello" };
    let fake, octokit, sha;

    before(async () => {
      fake = await start();
      sha = await fake.run("create", { repo: "octo/hello" });
      octokit = client(fake.url + base, await fake.run("token"));
    });
    after(() => fake.stop());

    test("a person and the limits", async () => {
      assert.equal((await octokit.users.getAuthenticated()).data.login, "datakit-bot");
      assert.equal((await octokit.rateLimit.get()).data.rate.limit, 5000);
      await refused(client(fake.url + base, "wrong").users.getAuthenticated(), 401, "Bad credentials");
      await refused(client(fake.url + base).users.getAuthenticated(), 401, "Requires authentication");
    });

    test("refs", async () => {
      const ref = "heads/feature/a+b#c@d";
      await octokit.git.createRef({ ...repo, ref: `refs/${ref}`, sha });
      assert.equal((await octokit.git.getRef({ ...repo, ref })).data.object.sha, sha);
      const tree = (await octokit.git.getCommit({ ...repo, commit_sha: sha })).data.tree.sha;
      const next = (await octokit.git.createCommit({ ...repo, message: "Next", tree, parents: [sha] })).data.sha;
      await octokit.git.updateRef({ ...repo, ref, sha: next });
      await refused(octokit.git.updateRef({ ...repo, ref, sha }), 422, "not a fast forward");
      await octokit.git.updateRef({ ...repo, ref, sha, force: true });
      await refused(octokit.git.createRef({ ...repo, ref: `refs/${ref}`, sha }), 422, "already exists");
      await refused(octokit.git.createRef({ ...repo, ref: "refs/heads/x", sha: "0".repeat(40) }), 422, "does not exist");
      await refused(octokit.git.createRef({ ...repo, ref: "refs/heads/a..b", sha }), 422, "not a valid ref name");
      const list = async (ref) => (await octokit.git.listMatchingRefs({ ...repo, ref })).data.map((found) => found.ref);
      assert.deepEqual(await list("heads/"), [`refs/${ref}`, "refs/heads/master"]);
      assert.deepEqual(await list("heads/none"), []);
      await octokit.git.deleteRef({ ...repo, ref });
      await refused(octokit.git.deleteRef({ ...repo, ref }), 422, "does not exist");
      await refused(octokit.git.getRef({ ...repo, ref }), 404);
      await refused(octokit.git.updateRef({ ...repo, ref, sha }), 422, "does not exist");
    });

    test("annotated tags and commits", async () => {
      const tag = await octokit.git.createTag({ ...repo, tag: "v1", message: "One", object: sha, type: "commit" });
      await octokit.git.createRef({ ...repo, ref: "refs/tags/v1", sha: tag.data.sha });
      const found = await octokit.git.getRef({ ...repo, ref: "tags/v1" });
      assert.equal(found.data.object.type, "tag");
      assert.equal((await octokit.git.getTag({ ...repo, tag_sha: found.data.object.sha })).data.object.sha, sha);
      for (const ref of [sha, sha.slice(0, 10), "master", "heads/master", "v1"]) {
        assert.equal((await octokit.repos.getCommit({ ...repo, ref })).data.sha, sha);
      }
      await refused(octokit.repos.getCommit({ ...repo, ref: "none" }), 422, "No commit found");
      await refused(octokit.git.getTag({ ...repo, tag_sha: sha }), 404);
    });

    test("pull requests", async () => {
      await fake.run("push", { repo: "octo/hello", branch: "topic" });
      const pull = { ...repo, head: "topic", base: "master", title: "A title" };
      const { data } = await octokit.pulls.create({ ...pull, body: "Text" });
      const at = { ...repo, pull_number: data.number };
      assert.equal((await octokit.pulls.get(at)).data.head.label, "octo:topic");
      await refused(octokit.pulls.create(pull), 422, "already exists");
      await refused(octokit.pulls.create({ ...pull, base: "none" }), 422, '"field":"base"');
      await refused(octokit.pulls.create({ ...pull, head: "master" }), 422, "No commits between");
      await fake.run("push", { repo: "octo/hello", branch: "stable" });
      const changed = await octokit.pulls.update({ ...at, title: "Other", base: "stable" });
      assert.deepEqual([changed.data.title, changed.data.base.ref], ["Other", "stable"]);
      await refused(octokit.pulls.update({ ...at, base: "none" }), 422, "was not found");
      assert.equal((await octokit.pulls.update({ ...at, state: "closed" })).data.state, "closed");
      assert.equal((await octokit.pulls.list(repo)).data.length, 0);
      assert.equal((await octokit.pulls.list({ ...repo, state: "closed" })).data.length, 1);
      assert.equal((await octokit.pulls.update({ ...at, state: "open" })).data.state, "open");
      await octokit.git.deleteRef({ ...repo, ref: "heads/topic" });
      assert.equal((await octokit.pulls.get(at)).data.state, "closed");
      await refused(octokit.pulls.update({ ...at, state: "open" }), 422, "has been deleted");
      await refused(octokit.pulls.get({ ...repo, pull_number: 999 }), 404);
    });

    test("comments", async () => {
      await fake.run("push", { repo: "octo/hello", branch: "talk" });
      const issue_number = await fake.run("open_pull", { repo: "octo/hello", branch: "talk", title: "Talk" });
      const { data } = await octokit.issues.createComment({ ...repo, issue_number, body: "One\n" });
      const at = { ...repo, comment_id: data.id };
      await octokit.issues.updateComment({ ...at, body: "Two" });
      assert.equal((await octokit.issues.getComment(at)).data.body, "Two");
      assert.equal((await octokit.issues.listComments({ ...repo, issue_number })).data.length, 1);
      await octokit.issues.deleteComment(at);
      await refused(octokit.issues.getComment(at), 404);
      await refused(octokit.issues.createComment({ ...repo, issue_number: 999, body: "x" }), 404);
    });

    test("statuses", async () => {
      const set = (context, state, more) => octokit.repos.createCommitStatus({ ...repo, sha, context, state, ...more });
      const state = async () => (await octokit.repos.getCombinedStatusForRef({ ...repo, ref: sha })).data.state;
      assert.equal(await state(), "pending");
      await set("ci/a", "pending", { description: "Wait", target_url: "https://ci.test/1" });
      await set("ci/a", "success");
      assert.equal(await state(), "success");
      await set("ci/b", "error");
      assert.equal(await state(), "failure");
      const { data } = await octokit.repos.getCombinedStatusForRef({ ...repo, ref: "heads/master" });
      assert.deepEqual(data.statuses.map((status) => `${status.context} ${status.state}`).sort(), ["ci/a success", "ci/b error"]);
      const all = await octokit.repos.listCommitStatusesForRef({ ...repo, ref: sha });
      assert.deepEqual(all.data.map((status) => status.state), ["error", "success", "pending"]);
      await refused(set("ci/a", "wrong"), 422, "not included in the list");
      await refused(set("ci/a", "success", { description: "x".repeat(141) }), 422, "too long");
      await refused(octokit.repos.createCommitStatus({ ...repo, sha: "0".repeat(40), state: "success" }), 422, "No commit found");
    });

    test("webhooks of a repository", async () => {
      const config = { url: "http://127.0.0.1:1/", content_type: "json", secret: "s" };
      const { data } = await octokit.repos.createWebhook({ ...repo, config, events: ["push", "status"] });
      assert.equal(data.config.secret, "********");
      const at = { ...repo, hook_id: data.id };
      await refused(octokit.repos.createWebhook({ ...repo, config, events: ["status", "push"] }), 422, "already exists");
      await refused(octokit.repos.createWebhook({ ...repo, config, events: ["nonsense"] }), 422, "Invalid event name");
      await refused(octokit.repos.createWebhook({ ...repo, config: { url: "ftp://x" } }), 422);
      assert.equal((await octokit.repos.listWebhooks(repo)).data.length, 1);
      assert.deepEqual((await octokit.repos.updateWebhook({ ...at, add_events: ["create"] })).data.events, ["push", "status", "create"]);
      await octokit.repos.pingWebhook(at);
      await octokit.repos.getWebhook(at);
      await octokit.repos.deleteWebhook(at);
      await refused(octokit.repos.getWebhook(at), 404);
    });

    test("apps, installations and check runs", async () => {
      const app = await fake.run("app");
      const installation_id = await fake.run("install", { app: app.id, account: "octo" });
      const asApp = client(fake.url + base, appToken(app));
      assert.equal((await asApp.apps.getAuthenticated()).data.id, app.id);
      assert.equal((await asApp.apps.listInstallations()).data[0].id, installation_id);
      await asApp.apps.getInstallation({ installation_id });
      const { data } = await asApp.apps.createInstallationAccessToken({ installation_id });
      const checks = client(fake.url + base, data.token);
      assert.equal((await checks.apps.listReposAccessibleToInstallation()).data.repositories[0].full_name, "octo/hello");

      const run = await checks.checks.create({ ...repo, name: "build", head_sha: sha, status: "in_progress" });
      const at = { ...repo, check_run_id: run.data.id };
      const output = { title: "Built", summary: "All is well" };
      await checks.checks.update({ ...at, status: "completed", conclusion: "success", output });
      assert.equal((await checks.checks.get(at)).data.conclusion, "success");
      await checks.checks.rerequestRun(at);
      const suite = { ...repo, check_suite_id: run.data.check_suite.id };
      assert.equal((await checks.checks.getSuite(suite)).data.conclusion, "success");
      await checks.checks.createSuite({ ...repo, head_sha: sha });
      assert.equal((await checks.checks.listForRef({ ...repo, ref: sha })).data.total_count, 1);
      assert.equal((await checks.checks.listForSuite(suite)).data.total_count, 1);
      assert.equal((await checks.checks.listSuitesForRef({ ...repo, ref: sha })).data.total_count, 1);
      await refused(checks.checks.update({ ...at, conclusion: "wrong" }), 422, "not a member");
      await refused(octokit.checks.create({ ...repo, name: "x", head_sha: sha }), 403, "GitHub App");
      await fake.run("permission", { app: app.id, name: "checks", level: "read" });
      await refused(checks.checks.create({ ...repo, name: "x", head_sha: sha }), 403, "not accessible by integration");

      const now = Math.floor(Date.now() / 1000);
      for (const [claims, change] of [
        [{ exp: now + 3600 }],
        [{ exp: now - 10 }],
        [{ iss: "1" }],
        [{}, (token) => token.slice(0, -4) + "AAAA"],
        [{}, (token) => token.replace(/\.[^.]*\./, `.${Buffer.from(`{"iss":${app.id},"exp":${now + 60}}`).toString("base64url")}.`)],
      ]) {
        await refused(client(fake.url + base, appToken(app, claims, change)).apps.getAuthenticated(), 401);
      }
      await fake.run("advance", { time: 3_601_000 });
      await refused(checks.apps.listReposAccessibleToInstallation(), 401, "Bad credentials");
    });

    test("a repository that is renamed, hidden and removed", async () => {
      const names = { owner: "octo", repo: "other" };
      await fake.run("create", { repo: "octo/other" });
      await octokit.repos.update({ ...names, name: "renamed" });
      assert.equal((await octokit.repos.get(names)).data.full_name, "octo/renamed");
      await octokit.repos.createCommitStatus({ ...names, sha: await fake.run("head", { repo: "octo/renamed", branch: "master" }), state: "success" });
      await fake.run("private", { repo: "octo/renamed", private: true });
      await octokit.repos.get(names);
      await refused(client(fake.url + base).repos.get(names), 404);
      await fake.run("member", { repo: "octo/renamed", login: "datakit-bot", member: false });
      await refused(octokit.repos.get(names), 404, "Not Found");
      await fake.run("member", { repo: "octo/renamed", login: "datakit-bot", member: true });
      await octokit.repos.delete({ ...names, repo: "renamed" });
      await refused(octokit.repos.get(names), 404);
      const reader = client(fake.url + base, await fake.run("token", { login: "stranger" }));
      await refused(reader.repos.createCommitStatus({ ...repo, sha, state: "success" }), 403);
      await refused(reader.repos.listWebhooks(repo), 404);
    });
  });
}
