// Small charts as SVG: coloured by the style sheet (so light and dark need no redraw), sharp at any size, one
// crosshair for all charts of a page.
import { h, put, s, text } from "./dom.js";
import { amount, clock, tick, utc } from "./format.js";
import { t } from "./i18n.js";

const LEFT = 54;
const RIGHT = 10;
const TOP = 10;
const BOTTOM = 20;
/** Lines of changes nearer than so many pixels become one. */
const MARK_ROOM = 7;
/** Steps between the ticks of a time axis, in milliseconds. */
const TIME_STEPS = [15e3, 30e3, 60e3, 120e3, 300e3, 600e3, 900e3, 1800e3, 3600e3, 7200e3, 10800e3, 21600e3, 43200e3, 86400e3, 172800e3, 432000e3];

/** The crosshair that several charts share: a moment, or none. */
export class Crosshair {
  #charts = new Set();
  at = null;

  join(chart) {
    this.#charts.add(chart);
  }

  set(at) {
    this.at = at;
    for (const chart of this.#charts) chart.showCrosshair(at);
  }
}

/** Columns of points laid on an even grid; a value holds for `hold` milliseconds, then there is a gap. */
export function grid(columns, from, to, step, hold, of = "mean") {
  const n = Math.max(1, Math.ceil((to - from) / step));
  const values = new Array(n).fill(null);
  if (!columns) return values;
  const reach = Math.max(1, Math.ceil(hold / step));
  columns.at.forEach((at, i) => {
    const place = Math.floor((at - from) / step);
    for (let k = Math.max(0, place); k < Math.min(n, place + reach); k += 1) values[k] = columns[of][i];
  });
  return values;
}

/** Tops of a scale that read well, and into how many parts each is cut. */
const TOPS = [[1, 4], [1.5, 3], [2, 4], [3, 3], [4, 4], [5, 5], [6, 3], [8, 4], [10, 4]];

/** The values on an upright axis up to at least `most`. */
function scale(most, unit, integers) {
  if (!(most > 0)) return ticks(integers ? 2 : unit === "seconds" ? 0.1 : 1, integers ? 2 : 4);
  // A little air above the highest point.
  const raw = most * 1.08;
  const base = unit === "bytes" ? 2 ** Math.floor(Math.log2(raw)) : 10 ** Math.floor(Math.log10(raw));
  if (integers && raw < 10) {
    const top = [2, 4, 6, 8, 10].find((n) => n >= raw);
    return ticks(top, top / 2);
  }
  const [nice, parts] = TOPS.find(([n]) => n * base >= raw) ?? TOPS.at(-1);
  const values = ticks(nice * base, parts);
  return integers ? values.filter(Number.isInteger) : values;
}

function ticks(top, parts) {
  return Array.from({ length: parts + 1 }, (_, i) => (top * i) / parts);
}

/**
 * One chart. `series`: `{ key, label, kind, tone }` with kind `line`, `step`, `limit`, `stack` (drawn on top of each other) or
 * `room`; `between: [low, high]` fills the room between two series, and the room where the first
 * exceeds the second in another tone; `bands: [[low, high]]` fills what is foreseen. A series of kind `room` is only read out, in a `format` of its own.
 */
export class Chart {
  constructor({ title, unit, series, between = null, bands = [], height = 168, crosshair, integers = false, format = null }) {
    Object.assign(this, { title, unit, series, between, bands, height, crosshair, integers });
    this.format = format ?? ((value) => amount(value, unit));
    this.readouts = new Map();
    this.moment = h("span", { class: "chart-moment" });
    const keys = series.map((one) => {
      const value = h("span", { class: "key-value" }, "–");
      this.readouts.set(one.key, value);
      return h("span", { class: `key tone-${one.tone}` }, h("i", { class: `swatch ${one.kind}` }), h("span", { class: "key-name" }, one.label), value);
    });
    this.svg = s("svg", { class: "plot", tabindex: "0", role: "img" });
    this.plot = h("div", { class: "plot-box" }, this.svg);
    this.element = h("section", { class: "chart" }, h("header", {}, h("h3", {}, title), h("div", { class: "keys" }, keys), this.moment), this.plot);
    this.svg.addEventListener("pointermove", (event) => this.#point(event));
    this.svg.addEventListener("pointerdown", (event) => this.#point(event));
    this.svg.addEventListener("pointerleave", () => this.crosshair.set(null));
    this.svg.addEventListener("blur", () => this.crosshair.set(null));
    this.svg.addEventListener("keydown", (event) => this.#key(event));
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.plot);
    this.crosshair.join(this);
  }

  destroy() {
    this.observer.disconnect();
  }

  /**
   * `data`: `{ from, to, now, step, values: { key: [..] }, spread: { key: { min: [..], max: [..] } }, marks: [ms], chosen: ms|null }`;
   * what lies after `now` is foreseen. A spread shows the least and the largest value where a point stands for many.
   */
  set(data) {
    this.data = data;
    this.draw();
  }

  #x(at) {
    const { from, to } = this.data;
    return LEFT + ((at - from) / (to - from)) * (this.width - LEFT - RIGHT);
  }

  #point(event) {
    if (!this.data) return;
    const box = this.svg.getBoundingClientRect();
    const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT);
    if (share < 0 || share > 1) return;
    this.crosshair.set(this.data.from + share * (this.data.to - this.data.from));
  }

  #key(event) {
    if (!this.data || !["ArrowLeft", "ArrowRight", "Home", "End", "Escape"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    const { from, to, step } = this.data;
    const stride = Math.max(step, (to - from) / 120) * (event.shiftKey ? 10 : 1);
    const at = this.crosshair.at ?? this.data.now - step;
    const next = { ArrowLeft: at - stride, ArrowRight: at + stride, Home: from, End: to - step }[event.key];
    this.crosshair.set(event.key === "Escape" ? null : Math.min(to - 1, Math.max(from, next)));
  }

  #index(at) {
    const { from, step, values } = this.data;
    const n = Object.values(values)[0]?.length ?? 0;
    return Math.min(n - 1, Math.max(0, Math.floor((at - from) / step)));
  }

  /** Shows the values at a moment, or the latest ones. */
  showCrosshair(at) {
    if (!this.data) return;
    const { values } = this.data;
    let index = at === null ? null : this.#index(at);
    for (const one of this.series) {
      const column = values[one.key] ?? [];
      let value = index === null ? null : column[index];
      const last = this.#index(this.data.now);
      if (index === null) for (let i = last; i >= Math.max(0, last - 12) && (value ?? null) === null; i -= 1) value = column[i] ?? null;
      const { min, max } = this.data.spread?.[one.key] ?? {};
      const format = one.format ?? this.format;
      const reach = index !== null && max && min[index] !== null && min[index] !== max[index] ? ` (${format(min[index])}–${format(max[index])})` : "";
      text(this.readouts.get(one.key), value === null || value === undefined ? "–" : `${format(value)}${reach}`);
    }
    text(this.moment, at === null ? "" : clock(at));
    this.moment.title = at === null ? "" : utc(at);
    if (!this.cursor) return;
    this.cursor.classList.toggle("hidden", at === null);
    if (at !== null) this.cursor.setAttribute("transform", `translate(${this.#x(at).toFixed(1)} 0)`);
  }

  draw() {
    if (!this.data) return;
    const { from, to, now, step, values, spread = {}, marks = [], chosen = null } = this.data;
    // Asked once: the browser may have to lay out the page for it.
    const width = Math.max(200, this.plot.clientWidth);
    this.width = width;
    const height = this.height;
    const bottom = height - BOTTOM;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("height", height);
    const stacked = this.series.filter((one) => one.kind === "stack");
    const stack = [];
    if (stacked.length) {
      const n = values[stacked[0].key].length;
      let below = new Array(n).fill(0);
      for (const one of stacked) {
        const above = below.map((v, i) => v + (values[one.key][i] ?? 0));
        stack.push({ one, below, above });
        below = above;
      }
    }
    let most = 0;
    for (const one of this.series) if (one.kind !== "room" || this.bands.some(([, high]) => high === one.key)) for (const v of values[one.key] ?? []) if (v > most) most = v;
    for (const layer of stack) for (const v of layer.above) if (v > most) most = v;
    for (const { max } of Object.values(spread)) for (const v of max) if (v > most) most = v;
    const levels = scale(most, this.unit, this.integers);
    const top = levels.at(-1);
    const x = (i) => this.#x(from + (i + 0.5) * step);
    const y = (v) => bottom - (Math.min(v, top) / top) * (bottom - TOP);
    const nodes = [];
    for (const value of levels) {
      nodes.push(s("line", { class: value === 0 ? "axis" : "gridline", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }));
      nodes.push(s("text", { class: "tick", x: LEFT - 7, y: y(value) + 3.5, "text-anchor": "end" }, this.format(value)));
    }
    const room = Math.max(2, Math.floor((width - LEFT) / 84));
    const timeStep = TIME_STEPS.find((one) => (to - from) / one <= room) ?? TIME_STEPS.at(-1);
    const zone = new Date(from).getTimezoneOffset() * 60000;
    for (let at = Math.ceil((from - zone) / timeStep) * timeStep + zone; at < to; at += timeStep) {
      const place = this.#x(at);
      if (place < LEFT + 14 || place > width - RIGHT - 14) continue;
      nodes.push(s("text", { class: "tick", x: place, y: height - 5, "text-anchor": "middle" }, tick(at, timeStep)));
    }
    let marked = -Infinity;
    for (const at of [...marks].sort((a, b) => a - b)) {
      const place = this.#x(at);
      // A dozen of changes in a row are a place, not a dozen of lines.
      if (at < from || at >= to || place - marked < MARK_ROOM) continue;
      marked = place;
      nodes.push(s("line", { class: "mark", x1: place, x2: place, y1: TOP, y2: bottom }));
    }
    if (now < to) nodes.push(s("line", { class: "present", x1: this.#x(now), x2: this.#x(now), y1: TOP, y2: bottom }));
    for (const [low, high] of this.bands) nodes.push(s("path", { class: "foreseen", d: band(values[low], values[high], x, y, values[high]) }));
    if (this.between) nodes.push(...this.#between(values, x, y));
    for (const { one, below, above } of stack) nodes.push(s("path", { class: `stack tone-${one.tone}`, d: blocks(below, above, (i) => this.#x(from + i * step), y, values[one.key]) }));
    for (const one of this.series) {
      const column = values[one.key] ?? [];
      const { min, max } = spread[one.key] ?? {};
      if (max) nodes.push(s("path", { class: `spread tone-${one.tone}`, d: one.kind === "step" ? blocks(min, max, (i) => this.#x(from + i * step), y, max) : band(min, max, x, y, max) }));
      if (one.kind === "line") nodes.push(s("path", { class: `line tone-${one.tone}`, d: path(column, x, y) }));
      if (one.kind === "limit") nodes.push(s("path", { class: "limit", d: path(column, x, y) }));
      if (one.kind === "step") nodes.push(s("path", { class: `line step tone-${one.tone}`, d: steps(column, (i) => this.#x(from + i * step), y) }));
    }
    if (chosen !== null && chosen >= from && chosen < to) nodes.push(s("line", { class: "chosen", x1: this.#x(chosen), x2: this.#x(chosen), y1: TOP - 4, y2: bottom }));
    this.cursor = s("g", { class: "cursor hidden" }, s("line", { x1: 0, x2: 0, y1: TOP, y2: bottom }));
    nodes.push(this.cursor);
    put(this.svg, nodes);
    const isEmpty = this.series.filter((one) => one.kind !== "limit").every((one) => (values[one.key] ?? []).every((v) => v === null));
    this.plot.classList.toggle("empty", isEmpty);
    this.plot.dataset.empty = isEmpty ? t("noData") : "";
    this.showCrosshair(this.crosshair.at);
    const summary = this.series.map((one) => `${one.label} ${this.readouts.get(one.key).textContent}`).join(", ");
    this.svg.setAttribute("aria-label", t("chartLabel", { title: this.title, summary }));
  }

  /** The room between two series, and where the first is above the second. */
  #between(values, x, y) {
    const [low, high] = this.between.map((key) => values[key] ?? []);
    const both = low.map((v, i) => (v === null || high[i] === null || high[i] === undefined ? null : v));
    const over = low.map((v, i) => Math.max(v ?? 0, high[i] ?? 0));
    const under = low.map((v, i) => Math.min(v ?? 0, high[i] ?? 0));
    return [s("path", { class: "room", d: band(under, high, x, y, both) }), s("path", { class: "lack", d: band(under.map((_, i) => high[i] ?? 0), over, x, y, both) })];
  }
}

function path(column, x, y) {
  let d = "";
  let isPen = false;
  column.forEach((value, i) => {
    if (value === null) isPen = false;
    else {
      d += `${isPen ? "L" : "M"}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
      isPen = true;
    }
  });
  return d;
}

function steps(column, x, y) {
  let d = "";
  let last = null;
  column.forEach((value, i) => {
    if (value === null) last = null;
    else {
      if (last === null) d += `M${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
      else if (value !== last) d += `H${x(i).toFixed(1)}V${y(value).toFixed(1)}`;
      if (i === column.length - 1 || column[i + 1] === null) d += `H${x(i + 1).toFixed(1)}`;
      last = value;
    }
  });
  return d;
}

/** The same in steps: counts jump, they do not slide. */
function blocks(below, above, x, y, there) {
  let d = "";
  for (let start = 0; start < above.length; start += 1) {
    if (there[start] === null || there[start] === undefined || above[start] === below[start]) continue;
    let end = start;
    while (end + 1 < above.length && above[end + 1] === above[start] && below[end + 1] === below[start] && (there[end + 1] ?? null) !== null) end += 1;
    d += `M${x(start).toFixed(1)} ${y(below[start]).toFixed(1)}V${y(above[start]).toFixed(1)}H${x(end + 1).toFixed(1)}V${y(below[start]).toFixed(1)}Z`;
    start = end;
  }
  return d;
}

/** A filled band between two columns, in pieces where `there` has values. */
function band(below, above, x, y, there) {
  let d = "";
  for (let start = 0; start < above.length; start += 1) {
    if (there[start] === null || there[start] === undefined) continue;
    let end = start;
    while (end + 1 < above.length && there[end + 1] !== null && there[end + 1] !== undefined) end += 1;
    let forth = "";
    let back = "";
    for (let i = start; i <= end; i += 1) {
      forth += `${i === start ? "M" : "L"}${x(i).toFixed(1)} ${y(above[i] ?? 0).toFixed(1)}`;
      back = `L${x(i).toFixed(1)} ${y(below[i] ?? 0).toFixed(1)}${back}`;
    }
    d += `${forth}${back}Z`;
    start = end;
  }
  return d;
}

/** A line without axes: the last quarter of an hour at a glance. */
export function sparkline(values, limit, label) {
  const width = 120;
  const height = 30;
  let most = 0;
  for (const v of [...values, ...limit]) if (v > most) most = v;
  const top = most * 1.1 || 1;
  const n = values.length;
  const x = (i) => (i / Math.max(1, n - 1)) * width;
  const y = (v) => height - 1.5 - (v / top) * (height - 4);
  const filled = values.map((v) => v ?? 0);
  return s("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    s("path", { class: "spark-fill", d: band(new Array(n).fill(0), filled, x, y, values) }),
    s("path", { class: "spark-limit", d: steps(limit, x, y) }),
    s("path", { class: "spark-line", d: path(values, x, y) }));
}
