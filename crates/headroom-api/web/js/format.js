// Numbers with units, times in the reader's zone.
import { h } from "./dom.js";
import { language } from "./i18n.js";

function trim(value) {
  const places = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toLocaleString("en-US", { maximumFractionDigits: places });
}

/** An amount as a person reads it: `82 %`, `312 ms`, `1,240/s`. */
export function amount(value, unit) {
  if (value === null || value === undefined) return "–";
  switch (unit) {
    case "perSecond":
      return `${trim(value)}/s`;
    case "ratio":
      return `${trim(value * 100)} %`;
    case "seconds":
      return value < 1 ? `${trim(value * 1000)} ms` : `${trim(value)} s`;
    case "bytes": {
      const step = [["Gi", 2 ** 30], ["Mi", 2 ** 20], ["Ki", 2 ** 10]].find(([, size]) => value >= size);
      return step ? `${trim(value / step[1])} ${step[0]}` : `${trim(value)} B`;
    }
    default:
      return trim(value);
  }
}

/** A length of time in at most two parts: `4 min 10 s`. */
export function length(ms) {
  const ko = language() === "ko";
  const [d, hr, min, sec] = ko ? ["일", "시간", "분", "초"] : [" d", " h", " min", " s"];
  const s = Math.max(0, Math.round(ms / 1000));
  if (ms > 0 && ms < 950) return `${Math.round(ms)} ms`;
  if (ms < 9500 && ms % 1000) return `${(ms / 1000).toFixed(1)}${sec}`;
  if (s < 120) return `${s}${sec}`;
  if (s < 7200) return s % 60 ? `${Math.floor(s / 60)}${min} ${s % 60}${sec}` : `${s / 60}${min}`;
  if (s < 172800) return `${Math.floor(s / 3600)}${hr} ${Math.floor((s % 3600) / 60)}${min}`;
  return `${Math.floor(s / 86400)}${d} ${Math.floor((s % 86400) / 3600)}${hr}`;
}

/** A length of time as the API writes it (`1h30m`, `250ms`), in milliseconds. */
export function parseSpan(text) {
  if (!text) return null;
  let total = 0;
  for (const [, number, unit] of text.matchAll(/([\d.]+)(ms|s|min|m|h|d)/g)) {
    total += Number(number) * { ms: 1, s: 1e3, m: 6e4, min: 6e4, h: 3.6e6, d: 8.64e7 }[unit];
  }
  return total;
}

/** A quantity as a policy writes it (`100`, `70%`, `200ms`, `100/s`), in base units. */
export function parseQuantity(value) {
  if (typeof value === "number") return value;
  const match = /^([\d._]+)\s*(%|\/s|\/min|ms|s|min|m|h|B|Ki|Mi|Gi)?$/.exec(String(value ?? "").trim());
  if (!match) return null;
  const factors = { "%": 0.01, "/s": 1, "/min": 1 / 60, ms: 0.001, s: 1, m: 60, min: 60, h: 3600, B: 1, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30 };
  return Number(match[1].replaceAll("_", "")) * (match[2] ? factors[match[2]] : 1);
}

function zoned(at, options) {
  return new Intl.DateTimeFormat(language(), { hourCycle: "h23", ...options }).format(at);
}

const SECONDS = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
const MINUTES = { hour: "2-digit", minute: "2-digit" };
const DAY = { month: "short", day: "numeric" };

/** A moment in the reader's zone; with the day where it is not today. */
export function clock(at) {
  const then = new Date(at);
  const today = new Date().toDateString() === then.toDateString();
  return today ? zoned(then, SECONDS) : `${zoned(then, DAY)} ${zoned(then, MINUTES)}`;
}

/** The label of a tick on a time axis whose ticks lie `step` milliseconds apart. */
export function tick(at, step) {
  if (step >= 86400000) return zoned(at, DAY);
  return zoned(at, step < 60000 ? SECONDS : MINUTES);
}

/** The full moment in UTC, for a tooltip. */
export function utc(at) {
  return `${new Date(at).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** A `<time>` in the reader's zone with UTC as its tooltip. */
export function time(at) {
  const then = new Date(at);
  return h("time", { datetime: then.toISOString(), title: utc(then) }, clock(then));
}

/** A sentence of the server, whose times of day are UTC, with those times in the reader's zone. */
export function sentence(text, near) {
  const parts = [];
  let from = 0;
  for (const match of text.matchAll(/(\d\d:\d\d:\d\d) UTC/g)) {
    parts.push(text.slice(from, match.index));
    const base = new Date(near);
    const at = new Date(`${base.toISOString().slice(0, 10)}T${match[1]}Z`);
    // The time of day nearest to the decision is the one that is meant.
    if (at - base > 43200000) at.setUTCDate(at.getUTCDate() - 1);
    if (base - at > 43200000) at.setUTCDate(at.getUTCDate() + 1);
    parts.push(time(at));
    from = match.index + match[0].length;
  }
  parts.push(text.slice(from));
  return parts;
}

/** A decision's one sentence, as a sentence of its own. */
export function headline(text, near) {
  // Its verdict begins it; signals, whose names are as they are, never do.
  return sentence(text.charAt(0).toUpperCase() + text.slice(1), near);
}

/** An amount of dollars. */
export function dollars(value) {
  const places = value >= 100 ? 0 : value >= 1 ? 2 : 3;
  return `$${value.toLocaleString("en-US", { minimumFractionDigits: places === 3 ? 2 : places, maximumFractionDigits: places })}`;
}

/** `0.096 USD/h` as a number of dollars an hour; null where there is no price. */
export function price(text) {
  return text ? Number.parseFloat(text) : null;
}
