// All workloads at a glance: what runs, why, until when, and what needs a person.
import { readExplained, read } from "./api.js";
import { grid, sparkline } from "./chart.js";
import { until, verdict } from "./decision.js";
import { h, icon, put, text } from "./dom.js";
import { mainSignal, signalShape, status, SYMBOLS } from "./fleet.js";
import { amount, dollars, headline, price, sentence, time } from "./format.js";
import { t } from "./i18n.js";

/** What the small charts show, and how often they are read again. */
const SPARK = 15 * 60_000;
const SPARK_STEP = 10_000;
const SPARK_AGAIN = 15_000;
/** Small charts at the most: one question each. */
const SPARKS = 40;

export class Overview {
  constructor(app) {
    this.app = app;
    this.rows = new Map();
    this.filterText = "";
    this.stopped = new AbortController();
    this.tiles = h("section", { class: "tiles", "aria-label": t("overview") });
    this.input = h("input", { type: "search", id: "filter", placeholder: t("filter"), "aria-label": t("filter"), autocomplete: "off", spellcheck: "false", oninput: () => this.#filter() });
    this.list = h("ul", { class: "rows", id: "workloads" });
    this.none = h("p", { class: "empty", hidden: true });
    this.recent = h("ol", { class: "feed" }, skeleton(4));
    this.notices = h("div", { class: "notices" });
    this.foot = h("footer", { class: "foot" });
    this.element = h("div", { class: "page overview" },
      this.tiles,
      h("div", { class: "columns" },
        h("section", { class: "panel" },
          h("header", { class: "panel-head" }, h("h2", {}, t("workloads")), h("label", { class: "filter" }, icon("search"), this.input, h("kbd", {}, "/"))),
          this.list, this.none),
        h("aside", { class: "side" },
          h("section", { class: "panel" }, h("header", { class: "panel-head" }, h("h2", {}, t("recent"))), this.recent),
          this.notices)),
      this.foot);
    this.update();
    this.#readRecent();
    this.timer = setInterval(() => this.#readSparks(), SPARK_AGAIN);
    this.#readSparks();
  }

  destroy() {
    this.stopped.abort();
    clearInterval(this.timer);
  }

  heard(name) {
    if (name === "decision" || name === "action" || name === "missed") {
      clearTimeout(this.soon);
      this.soon = setTimeout(() => this.#readRecent(), 800);
    }
    if (name === "fleet") this.#readSparks();
  }

  /** Shows the overview as it is now. */
  update() {
    const { overview } = this.app;
    if (!overview) return;
    this.#showTiles(overview);
    const names = overview.workloads.map((view) => view.name);
    for (const [name, row] of this.rows) if (!names.includes(name)) { row.element.remove(); this.rows.delete(name); }
    let tier = null;
    let place = 0;
    for (const view of [...overview.workloads].sort(byTier)) {
      let row = this.rows.get(view.name);
      if (!row) {
        row = new Row(view.name);
        this.rows.set(view.name, row);
      }
      row.update(view);
      row.tierStart(view.tier !== tier ? view.tier : null);
      tier = view.tier;
      if (this.list.children[place] !== row.element) this.list.insertBefore(row.element, this.list.children[place] ?? null);
      place += 1;
    }
    this.#showNotices(overview.notices);
    put(this.foot, h("span", {}, t("startedAt", { version: overview.version, time: "" }), time(overview.startedAt)), h("span", {}, t("localTime")), h("a", { href: "/openapi.json" }, t("api")));
    this.#filter();
  }

  #showTiles({ workloads }) {
    const sum = (of) => workloads.reduce((total, view) => total + (of(view) ?? 0), 0);
    const ready = sum((view) => view.status?.ready);
    const wanted = sum((view) => view.status?.wanted);
    const priced = workloads.filter((view) => view.price);
    const cost = priced.reduce((total, view) => {
      const s = view.status;
      return total + price(view.price) * (s ? s.ready + s.starting + s.draining + (s.pool ? s.pool.warm + s.pool.warming : 0) : 0);
    }, 0);
    const wary = workloads.filter((view) => status(view) === "trouble");
    const changes = this.changes;
    put(this.tiles,
      tile(t("replicasReady"), ready, t("ofWanted", { n: wanted }), ready < wanted ? "warn" : ""),
      tile(t("running"), priced.length ? t("perHour", { cost: dollars(cost) }) : "–", priced.length ? (priced.length < workloads.length ? t("costPartly") : t("perMonth", { cost: dollars(cost * 730) })) : t("costUnknown")),
      tile(t("changesHour"), changes ? changes.up + changes.down : "–", changes ? (changes.up + changes.down ? t("changesSplit", changes) : t("changesNone")) : " "),
      tile(t("attention"), wary.length, wary.length ? wary.map((view) => view.name).join(", ") : t("attentionNone"), wary.length ? "bad" : "ok"));
  }

  #showNotices(notices) {
    if (!notices.length) return put(this.notices);
    return put(this.notices, h("section", { class: "panel" }, h("header", { class: "panel-head" }, h("h2", {}, t("notices"))),
      h("ol", { class: "feed" }, notices.slice(0, 6).map((notice) => h("li", { class: "notice" }, h("a", { href: `#/w/${notice.workload}` }, notice.workload), time(notice.at), h("p", {}, sentence(notice.message, Date.parse(notice.at))))))));
  }

  #filter() {
    const sought = this.input.value.trim().toLowerCase();
    let shown = 0;
    for (const [name, row] of this.rows) {
      const isShown = !sought || name.includes(sought) || row.tier?.toLowerCase().includes(sought);
      row.element.hidden = !isShown;
      if (isShown) shown += 1;
    }
    this.none.hidden = shown > 0 || !this.app.overview;
    text(this.none, this.rows.size ? t("filterNone", { text: this.input.value.trim() }) : t("noWorkloads"));
  }

  async #readRecent() {
    try {
      const signal = this.stopped.signal;
      const [latest, hour] = await Promise.all([
        readExplained("decisions", { changes: true, since: "24h", limit: 8 }, signal),
        readExplained("decisions", { changes: true, since: "1h", limit: 200 }, signal),
      ]);
      const up = hour.decisions.filter(({ decision }) => decision.to > decision.from).length;
      this.changes = { up, down: hour.decisions.length - up };
      if (this.app.overview) this.#showTiles(this.app.overview);
      if (!latest.decisions.length) return put(this.recent, h("li", { class: "empty" }, t("recentNone")));
      return put(this.recent, latest.decisions.map(({ decision, explanation }) =>
        h("li", {}, h("a", { class: "feed-item", href: `#/d/${decision.id}` },
          h("span", { class: "feed-head" }, h("b", {}, decision.id.replace(/-\d+$/, "")), verdict(decision), time(decision.at)),
          h("span", { class: "feed-why" }, sentence(reasonOf(explanation.headline), Date.parse(decision.at)))))));
    } catch {
      // The stream says whether the server is there; the next change asks again.
      return null;
    }
  }

  async #readSparks() {
    const { policy, overview } = this.app;
    if (!policy || !overview) return;
    for (const view of overview.workloads.slice(0, SPARKS)) {
      const row = this.rows.get(view.name);
      const workload = policy.spec.workloads[view.name];
      const main = mainSignal(workload);
      if (!row || !main) continue;
      try {
        const answer = await read(`workloads/${view.name}/series`, { name: [main.signal, "replicas.ready"], since: "15m", points: 120 }, this.stopped.signal);
        row.spark(answer, main, signalShape(workload.signals[main.signal]).unit);
      } catch {
        return;
      }
    }
  }

  /** Moves the focus by one workload. */
  step(by) {
    const links = [...this.list.querySelectorAll("li:not([hidden]) a.row")];
    if (!links.length) return;
    const at = links.indexOf(document.activeElement);
    links[at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + by))].focus();
  }

  focusFilter() {
    this.input.focus();
    this.input.select();
  }
}

/** The headline without its verdict, which stands beside it. */
export function reasonOf(headline) {
  const at = headline.indexOf(": ");
  return at < 0 ? headline : headline.slice(at + 2);
}

function byTier(a, b) {
  return (a.tier ?? "~").localeCompare(b.tier ?? "~") || a.name.localeCompare(b.name);
}

function tile(name, value, more, tone = "") {
  return h("div", { class: `tile ${tone}` }, h("span", { class: "tile-name" }, name), h("span", { class: "tile-value" }, value), h("span", { class: "tile-more" }, more));
}

function skeleton(n) {
  return Array.from({ length: n }, () => h("li", { class: "skeleton" }));
}

/** Ready, starting, draining and failed replicas as small bars within the allowed range. */
export function pips(view) {
  const seen = view.status;
  const box = h("span", { class: "pips", "aria-hidden": "true" });
  if (!seen) return box;
  const most = Math.max(view.range.max, seen.ready + seen.starting + seen.draining, 1);
  const parts = [["ready", seen.ready], ["starting", seen.starting], ["draining", seen.draining], ["failed", seen.failed], ["free", most - seen.ready - seen.starting - seen.draining - seen.failed]];
  // Beyond what can be told apart, bars become lengths.
  if (most > 24) for (const [tone, n] of parts) n > 0 && box.append(h("i", { class: `bar ${tone}`, style: { "flex-grow": String(n) } }));
  else for (const [tone, n] of parts) for (let i = 0; i < n; i += 1) box.append(h("i", { class: tone }));
  return box;
}

export function badge(state) {
  return h("span", { class: `badge ${state}` }, icon(SYMBOLS[state]), h("span", {}, t(`status_${state}`)));
}

class Row {
  constructor(name) {
    this.state = h("span", { class: "row-state" });
    this.count = h("span", { class: "row-count" });
    this.why = h("span", { class: "row-why" });
    this.sparkBox = h("span", { class: "row-spark" });
    this.heading = h("span", { class: "tier-head" });
    this.element = h("li", {}, this.heading, h("a", { class: "row", href: `#/w/${name}`, "data-workload": name },
      h("span", { class: "row-name" }, h("b", {}, name), this.state), this.count, this.sparkBox, this.why));
  }

  tierStart(tier) {
    this.heading.hidden = !tier;
    text(this.heading, tier ?? "");
  }

  update(view) {
    this.tier = view.tier;
    const state = status(view);
    const seen = view.status;
    const said = view.explanation;
    const print = JSON.stringify([state, seen && [seen.wanted, seen.ready, seen.starting, seen.draining, seen.failed], said?.headline, said?.until, view.freeze, document.documentElement.lang]);
    if (print === this.print) return;
    this.print = print;
    put(this.state, badge(state));
    const label = seen ? `${seen.ready} ${t("ready")}, ${t("ofWanted", { n: seen.wanted })}` : t("status_unknown");
    put(this.count, h("span", { class: "figure", title: label }, h("b", {}, seen ? seen.ready : "–"), h("span", {}, ` / ${seen ? seen.wanted : "–"}`)), pips(view), h("span", { class: "sr" }, label));
    const at = view.latest ? Date.parse(view.latest.at) : Date.now();
    put(this.why, said ? headline(said.headline, at) : t("status_unknown"), said?.until && h("span", { class: "row-until" }, until(said.until, said.headline.includes(" UTC"))));
  }

  spark(answer, main, unit) {
    const to = Date.parse(answer.until);
    const from = to - SPARK;
    const [signal, ready] = answer.series;
    const values = grid(signal, from, to, SPARK_STEP, SPARK_STEP);
    const share = main.perReplica === null ? null : Number.parseFloat(main.perReplica);
    const limit = share ? grid(ready, from, to, SPARK_STEP, 2 * SPARK_STEP).map((n) => (n === null ? null : n * share)) : values.map(() => null);
    const last = signal?.last.at(-1);
    const said = last === undefined ? t("missing") : amount(last, unit);
    put(this.sparkBox, sparkline(values, limit, `${main.signal}: ${said}`), h("span", { class: "spark-value" }, h("span", {}, main.signal), h("b", {}, said)));
  }
}


