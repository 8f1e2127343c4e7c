// Tests pagination, entity tags, limits and faults with the @octokit/rest client library.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { start } from "./fake.mjs";
import { client, refused } from "./rest.mjs";

describe("pages, entity tags and limits", () => {
  const repo = { owner: "octo", repo: "many" };
  let fake, octokit, sha;

  before(async () => {
    fake = await start();
    sha = await fake.run("create", { repo: "octo/many" });
    octokit = client(fake.url, await fake.run("token"));
  });
  after(() => fake.stop());

  test("lists arrive in pages", async () => {
    for (let number = 1; number <= 65; number++) {
      const branch = `topic-${number}`;
      await fake.run("push", { repo: "octo/many", branch });
      await fake.run("open_pull", { repo: "octo/many", branch, title: branch });
      await fake.run("status", { repo: "octo/many", sha, context: `ci/${number}`, state: "success" });
    }
    const first = await octokit.pulls.list(repo);
    assert.equal(first.data.length, 30);
    assert.match(first.headers.link, /repositories\/\d+\/pulls\?page=2>; rel="next".*page=3>; rel="last"/);
    for (const per_page of [10, 30, 100]) {
      const pulls = await octokit.paginate(octokit.pulls.list, { ...repo, per_page });
      assert.deepEqual(pulls.map((pull) => pull.number), Array.from({ length: 65 }, (_, at) => 65 - at));
    }
    const statuses = await octokit.paginate(octokit.repos.getCombinedStatusForRef, { ...repo, ref: sha }, (page) => page.data.statuses);
    assert.equal(statuses.length, 65);
    assert.equal((await octokit.git.listMatchingRefs({ ...repo, ref: "heads/" })).data.length, 66);
    // The list contains all refs, including those of pull requests. The server splits the list into
    // pages only if the request contains `per_page`.
    const refs = await octokit.paginate("GET /repos/{owner}/{repo}/git/matching-refs/", { ...repo, per_page: 100 });
    assert.equal(refs.length, 66 + 65);
    assert.equal((await octokit.pulls.list({ ...repo, page: 9 })).data.length, 0);
  });

  test("an unchanged answer is 304 and does not count", async () => {
    const { headers } = await octokit.pulls.list(repo);
    const used = await fake.run("used");
    const again = () => octokit.pulls.list({ ...repo, headers: { "if-none-match": headers.etag } });
    await refused(again(), 304);
    assert.equal(await fake.run("used"), used);
    await fake.run("edit_pull", { repo: "octo/many", number: 65, title: "New" });
    const changed = await again();
    assert.notEqual(changed.headers.etag, headers.etag);
    assert.equal(await fake.run("used"), used + 1);
    assert.equal(Number(changed.headers["x-ratelimit-used"]), used + 1);
    assert.equal(Number(changed.headers["x-ratelimit-remaining"]), 5000 - used - 1);
  });

  test("one commit and context has at most 1000 statuses", async () => {
    const set = (context) => octokit.repos.createCommitStatus({ ...repo, sha, state: "success", context });
    for (let count = 0; count < 1000; count++) {
      await fake.run("status", { repo: "octo/many", sha, context: "full", state: "pending" });
    }
    await refused(set("full"), 422, "maximum number of statuses");
    await set("other");
  });

  test("an exhausted limit is refused until it is reset", async () => {
    await fake.run("exhaust", { left: 1, time: 60_000 });
    const last = await octokit.repos.get(repo);
    assert.equal(last.headers["x-ratelimit-remaining"], "0");
    await refused(octokit.repos.get(repo), 403, "API rate limit exceeded");
    assert.equal((await octokit.rateLimit.get()).data.rate.remaining, 0);
    await fake.run("advance", { time: 61_000 });
    await octokit.repos.get(repo);
  });

  test("the secondary limit says how long to wait", async () => {
    await fake.run("limit", { points: 10 });
    const set = () => octokit.repos.createCommitStatus({ ...repo, sha, state: "success" });
    await set();
    await set();
    await assert.rejects(set(), (error) => {
      assert.equal(error.status, 403);
      assert.ok(Number(error.response.headers["retry-after"]) > 0);
      return true;
    });
    await fake.run("advance", { time: 61_000 });
    await set();
    await fake.run("limit", {});
    await fake.run("fault", { calls: "GET *", fault: "abuse", status: 429, retry_after: 7 });
    await assert.rejects(octokit.repos.get(repo), (error) => error.status === 429 && error.response.headers["retry-after"] === "7");
  });

  test("faults hit the calls that they name", async () => {
    await fake.run("fault", { calls: "GET /repos/octo/many/pulls*page=2*", fault: "status", status: 502 });
    await octokit.pulls.list(repo);
    await refused(octokit.pulls.list({ ...repo, page: 2 }), 502);
    await octokit.pulls.list({ ...repo, page: 2 });
    for (const fault of ["close", "cut", "half_body", "lost"]) {
      await fake.run("fault", { calls: "GET /repos/octo/many", fault });
      await assert.rejects(octokit.repos.get(repo), undefined, fault);
    }
    await fake.run("fault", { calls: "GET /repos/octo/many", fault: "hang" });
    await assert.rejects(octokit.repos.get({ ...repo, request: { signal: AbortSignal.timeout(100) } }));
    await octokit.repos.get(repo);
  });

  test("a lost call has its effect, and the others have none", async () => {
    const count = async () => (await fake.run("counts"))["POST /repos/{owner}/{repo}/git/refs"] ?? 0;
    const before = await count();
    const create = (name) => octokit.git.createRef({ ...repo, ref: `refs/heads/${name}`, sha });
    await fake.run("fault", { calls: "POST *", fault: "lost" });
    await assert.rejects(create("lost"));
    await refused(create("lost"), 422, "already exists");
    await fake.run("fault", { calls: "POST *", fault: "close" });
    await assert.rejects(create("closed"));
    await create("closed");
    assert.equal(await count(), before + 4);
  });
});
