// Checks requests, responses and events against GitHub's OpenAPI description.

import { readFileSync } from "node:fs";
import Ajv from "ajv";

const description = JSON.parse(readFileSync(new URL("schemas.json", import.meta.url), "utf8"));
const ajv = new Ajv({ strict: false, allErrors: true });
const compiled = new Map();

/** The names of all operations in the description, such as `GET /user`. */
export const operations = Object.keys(description.operations);

/** The operations for which the server has sent at least one successful response. */
export const seen = new Set();

function check(what, schema, value) {
  if (!compiled.has(what)) compiled.set(what, ajv.compile({ allOf: [schema], schemas: description.schemas }));
  const validate = compiled.get(what);
  if (validate(value)) return;
  const errors = validate.errors.slice(0, 8).map((error) => `  ${error.instancePath} ${error.message}`);
  throw new Error(`${what} differs from the description:\n${errors.join("\n")}\n${JSON.stringify(value).slice(0, 600)}`);
}

// The `{ref}` parameter may contain slashes. If multiple operations match a path, the one with the
// most fixed characters is used.
const patterns = operations
  .map((operation) => {
    const [method, path] = operation.split(" ");
    const source = path.replaceAll("{ref}", "(?:.*)").replace(/\{\w+\}/g, "[^/]+");
    return { operation, method, path: new RegExp(`^${source}$`), fixed: path.replace(/\{\w+\}/g, "").length };
  })
  .sort((a, b) => b.fixed - a.fixed);

function operationOf(method, path) {
  return patterns.find((pattern) => pattern.method === method && pattern.path.test(path))?.operation;
}

/** Checks a request and its response. `path` contains neither the base path nor the query. */
export function checkExchange(method, path, request, status, text) {
  const operation = operationOf(method, path);
  if (!operation) return;
  const { responses, request: body } = description.operations[operation];
  const what = `${operation} ${status}`;
  if (status === 204 || status === 304) {
    if (text) throw new Error(`${what} has a body`);
  } else {
    // Most errors are not listed in the description. An unlisted error has the usual form.
    const schema = responses[status] ?? (status >= 300 ? { $ref: "#/schemas/basic-error" } : undefined);
    if (!schema) throw new Error(`the description has no answer ${what}`);
    check(what, schema, JSON.parse(text));
  }
  if (status < 300 || status === 304) {
    seen.add(operation);
    if (request && body) check(`the request of ${operation}`, body, JSON.parse(request));
  }
}

/** Checks the body of an event. */
export function checkEvent(event, body) {
  const action = body.action ? `-${body.action}` : "";
  const name = `${event}${action}`.replaceAll("_", "-");
  const schema = description.events[name];
  if (!schema) throw new Error(`the description has no event ${name}`);
  check(`the event ${name}`, schema, body);
  return name;
}

/** The names of all events in the description. */
export const events = Object.keys(description.events);

/** Returns a `fetch` function that checks every request and response of the API at `root`. */
export function checked(root) {
  return async (url, options = {}) => {
    // Follow redirects manually so that every response is checked.
    const response = await fetch(url, { ...options, redirect: "manual" });
    const text = await response.clone().text();
    const address = new URL(url);
    if (url.startsWith(root) && !response.headers.get("content-type")?.startsWith("text/html")) {
      const path = address.pathname.slice(new URL(root).pathname.replace(/\/$/, "").length);
      checkExchange(options.method ?? "GET", path, options.body, response.status, text);
    }
    const location = response.headers.get("location");
    if ([301, 302, 307].includes(response.status) && location) return checked(root)(location, options);
    return response;
  };
}
