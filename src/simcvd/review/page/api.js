// Requests to the server that this page came from. `tab` is the name by which this page holds scans.

export const tab = Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");

// Something the server refused, or a server that is not there. status 0: no answer.
export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export function address(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

async function ask(path, query, options) {
  let response;
  try {
    response = await fetch(address(path, query), { cache: "no-store", ...options });
  } catch {
    throw new Refused("The server does not answer: is `simcvd review` still running?", 0);
  }
  if (response.ok) return response;
  const text = await response.text();
  let message = text;
  try {
    message = JSON.parse(text).error;
  } catch {
    // a plain answer
  }
  throw new Refused(message || `The server answered ${response.status}.`, response.status);
}

export const get = async (path, query) => (await ask(path, query)).json();

export const bytes = async (path, query) => new Uint8Array(await (await ask(path, query)).arrayBuffer());

export async function post(path, query, body, options = {}) {
  return (await ask(path, { tab, ...query }, { method: "POST", body, ...options })).json();
}

export async function gzip(array) {
  const stream = new Blob([array]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Response(stream).blob();
}
