// The gateway's HTTP API.

// ApiError is an answer that is not a success, or none at all (status 0).
export class ApiError extends Error {
  constructor(status, code, message, retryAfter) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter; // seconds, 0 if the server didn't say
  }

  // passing says that the same request may succeed later. The gateway answers 503, a proxy before it others.
  get passing() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

// request sends JSON and returns the JSON of the answer.
export async function request(method, path, { token, body, headers = {}, signal } = {}) {
  const options = { method, signal, headers: { ...headers }, cache: "no-store" };
  if (token) options.headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer, text;
  try {
    answer = await fetch(path, options);
    text = await answer.text();
  } catch (err) {
    if (signal?.aborted) throw err;
    throw new ApiError(0, "unreachable", "The gateway can’t be reached.", 0);
  }
  const json = parse(text);
  if (answer.ok) return json;
  const { code = String(answer.status), message = answer.statusText || "The gateway refused." } = json.error ?? {};
  throw new ApiError(answer.status, code, message, Number(answer.headers.get("Retry-After")) || 0);
}

// persist asks again, once a second, while the failure may pass and wanted() holds.
export async function persist(ask, wanted = () => true) {
  for (;;) {
    try {
      return await ask();
    } catch (err) {
      if (!err.passing || !wanted()) throw err;
      await new Promise((resolve) => setTimeout(resolve, 1000 * (err.retryAfter || 1)));
    }
  }
}

function parse(text) {
  try {
    const json = JSON.parse(text);
    return typeof json === "object" && json !== null ? json : {};
  } catch {
    return {};
  }
}

// conversationPath is where a conversation's resources are.
export const conversationPath = (id, rest = "") => `/v1/conversations/${encodeURIComponent(id)}${rest}`;

// newKey is an Idempotency-Key. (crypto.randomUUID is for https and localhost.)
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}
