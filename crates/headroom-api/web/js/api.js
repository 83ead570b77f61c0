// Talking to the server that the page came from; to nothing else.
import { language } from "./i18n.js";

const TOKEN = "headroom.token";

/** What the server said when it did not do what was asked. */
export class Refused extends Error {
  constructor(status, error) {
    super(error?.message ?? `HTTP ${status}`);
    this.status = status;
    this.code = error?.code;
    this.help = error?.help;
  }
}

/** The token this tab was given, if it was. */
export function token() {
  return sessionStorage.getItem(TOKEN);
}

export function keepToken(value) {
  if (value) sessionStorage.setItem(TOKEN, value);
  else sessionStorage.removeItem(TOKEN);
}

async function answer(response) {
  if (response.status === 204) return null;
  const body = await response.json().catch(() => null);
  if (!response.ok) throw new Refused(response.status, body?.error);
  return body;
}

/** Where an answer is found. */
export function address(path, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one !== null && one !== undefined) query.append(name, one);
  }
  const text = query.toString();
  return `/api/v1/${path}${text ? `?${text}` : ""}`;
}

/** Reads; explanations come in the language in use. */
export async function read(path, params = {}, signal = undefined) {
  return answer(await fetch(address(path, params), { signal, headers: { accept: "application/json" } }));
}

/** Reads something that is explained in words. */
export function readExplained(path, params = {}, signal = undefined) {
  return read(path, { ...params, lang: language() }, signal);
}

/** Changes something. */
export async function change(path, body) {
  const headers = { authorization: `Bearer ${token() ?? ""}` };
  if (body !== undefined) headers["content-type"] = "application/json";
  return answer(await fetch(`/api/v1/${path}`, { method: "POST", headers, body: body === undefined ? undefined : JSON.stringify(body) }));
}

/** The longest pause between two tries to connect. */
const LONGEST_PAUSE = 10_000;
/** A stream that says nothing for so long has broken: the overview comes once a second. */
const SILENCE = 8_000;

/** Listens to what happens and reconnects for ever; `hear(name, data)`, and `state(isLive)` when that changes. */
export function listen(hear, state) {
  let source;
  let pause = 500;
  let retry;
  let silence;
  const connect = () => {
    clearTimeout(retry);
    source = new EventSource(`/api/v1/events?lang=${language()}`);
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(broken, SILENCE);
    };
    source.addEventListener("open", () => {
      pause = 500;
      heard();
      state(true);
    });
    source.addEventListener("error", broken);
    for (const name of ["overview", "decision", "action", "notice", "changed", "fleet", "missed"]) {
      source.addEventListener(name, (event) => {
        heard();
        hear(name, JSON.parse(event.data));
      });
    }
  };
  const broken = () => {
    source.close();
    clearTimeout(silence);
    state(false);
    clearTimeout(retry);
    retry = setTimeout(connect, pause);
    pause = Math.min(pause * 2, LONGEST_PAUSE);
  };
  connect();
  return () => {
    source.close();
    clearTimeout(retry);
    clearTimeout(silence);
  };
}
