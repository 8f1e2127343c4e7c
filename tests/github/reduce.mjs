// Prints the part of GitHub's OpenAPI description that covers the paths served by the fake. Usage:
//
//   npm pack @octokit/openapi@23.0.2
//   tar xzf octokit-openapi-23.0.2.tgz package/generated/api.github.com.json
//   node reduce.mjs package/generated/api.github.com.json >schemas.json
//
// The result contains the schemas of request bodies and responses in the JSON Schema dialect that
// `ajv` supports. The result contains no descriptions or examples.

import { readFileSync } from "node:fs";

const repo = "/repos/{owner}/{repo}";
const paths = {
  "/app": ["get"],
  "/app/installations": ["get"],
  "/app/installations/{installation_id}": ["get"],
  "/app/installations/{installation_id}/access_tokens": ["post"],
  "/installation/repositories": ["get"],
  "/rate_limit": ["get"],
  "/user": ["get"],
  [repo]: ["get", "patch", "delete"],
  [`${repo}/check-runs`]: ["post"],
  [`${repo}/check-runs/{check_run_id}`]: ["get", "patch"],
  [`${repo}/check-runs/{check_run_id}/rerequest`]: ["post"],
  [`${repo}/check-suites`]: ["post"],
  [`${repo}/check-suites/{check_suite_id}`]: ["get"],
  [`${repo}/check-suites/{check_suite_id}/check-runs`]: ["get"],
  [`${repo}/commits/{ref}`]: ["get"],
  [`${repo}/commits/{ref}/check-runs`]: ["get"],
  [`${repo}/commits/{ref}/check-suites`]: ["get"],
  [`${repo}/commits/{ref}/status`]: ["get"],
  [`${repo}/commits/{ref}/statuses`]: ["get"],
  [`${repo}/git/commits`]: ["post"],
  [`${repo}/git/commits/{commit_sha}`]: ["get"],
  [`${repo}/git/matching-refs/{ref}`]: ["get"],
  [`${repo}/git/ref/{ref}`]: ["get"],
  [`${repo}/git/refs`]: ["post"],
  [`${repo}/git/refs/{ref}`]: ["patch", "delete"],
  [`${repo}/git/tags`]: ["post"],
  [`${repo}/git/tags/{tag_sha}`]: ["get"],
  [`${repo}/hooks`]: ["get", "post"],
  [`${repo}/hooks/{hook_id}`]: ["get", "patch", "delete"],
  [`${repo}/hooks/{hook_id}/pings`]: ["post"],
  [`${repo}/issues/{issue_number}/comments`]: ["get", "post"],
  [`${repo}/issues/comments/{comment_id}`]: ["get", "patch", "delete"],
  [`${repo}/pulls`]: ["get", "post"],
  [`${repo}/pulls/{pull_number}`]: ["get", "patch"],
  [`${repo}/statuses/{sha}`]: ["post"],
};
const webhooks = ["check-run-created", "check-run-completed", "check-run-rerequested", "create", "delete",
  "issue-comment-created", "ping", "pull-request-opened", "pull-request-closed", "pull-request-edited",
  "pull-request-reopened", "pull-request-synchronize", "push", "status"];
// The keywords that constrain a value. `format` is not in the list because some of GitHub's own
// responses violate it.
const kept = ["type", "enum", "required", "additionalProperties", "maxLength", "minLength", "maxItems",
  "minItems", "maximum", "minimum", "pattern"];

const api = JSON.parse(readFileSync(process.argv[2], "utf8"));
const schemas = {};

function reduce(schema) {
  if (typeof schema !== "object" || schema === null) return schema;
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    if (!(name in schemas)) {
      schemas[name] = null; // Prevents an endless recursion if the schema contains itself.
      schemas[name] = reduce(api.components.schemas[name]);
    }
    return { $ref: `#/schemas/${name}` };
  }
  const result = {};
  for (const key of kept) if (key in schema) result[key] = schema[key];
  if (typeof schema.additionalProperties === "object") result.additionalProperties = reduce(schema.additionalProperties);
  if (schema.properties) {
    result.properties = Object.fromEntries(Object.entries(schema.properties).map(([k, v]) => [k, reduce(v)]));
  }
  if (schema.items) result.items = reduce(schema.items);
  for (const key of ["oneOf", "anyOf", "allOf"]) if (schema[key]) result[key] = schema[key].map(reduce);
  if (!schema.nullable) return result;
  if (result.enum) result.enum = [...result.enum, null];
  if (!result.type) return { anyOf: [{ type: "null" }, result] };
  return { ...result, type: [result.type, "null"] };
}

const component = (value) => (value.$ref ? api.components[value.$ref.split("/")[2]][value.$ref.split("/")[3]] : value);
const body = (value) => value?.content?.["application/json"]?.schema;

const operations = {};
for (const [path, methods] of Object.entries(paths)) {
  for (const method of methods) {
    const source = api.paths[path]?.[method];
    if (!source) throw new Error(`the description has no ${method} ${path}`);
    const responses = {};
    for (const [status, value] of Object.entries(source.responses)) {
      const schema = body(component(value));
      responses[status] = schema ? reduce(schema) : null;
    }
    const operation = { responses };
    const request = body(source.requestBody);
    if (request) operation.request = reduce(request);
    operations[`${method.toUpperCase()} ${path}`] = operation;
  }
}
// Replace the schema of this list because it wrongly requires each account to be both a user and an
// enterprise.
operations["GET /app/installations"].responses["200"] = { type: "array", items: { $ref: "#/schemas/installation" } };

const events = {};
for (const name of webhooks) {
  const source = (api.webhooks ?? api["x-webhooks"])?.[name]?.post;
  if (!source) throw new Error(`the description has no webhook ${name}`);
  events[name] = reduce(body(source.requestBody));
}
// Print one entry per line so that updating the description produces a readable diff.
const lines = (map) => Object.entries(map).map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",\n");
const parts = Object.entries({ operations, events, schemas }).map(([key, map]) => `"${key}":{\n${lines(map)}\n}`);
process.stdout.write(`{${parts.join(",\n")}}\n`);
