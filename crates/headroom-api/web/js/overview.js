// All workloads at a glance: what runs, why, until when, and what needs a person.
import { address, readExplained, read } from "./api.js";
import { grid, sparkline } from "./chart.js";
import { until, verdict } from "./decision.js";
import { answerDialog, closeBreakerDialog, thaw } from "./dialogs.js";
import { h, icon, put, text } from "./dom.js";
import { blocks, BLOCKS, carries, cost, mainSignal, signalShape, STATES, status, SYMBOLS } from "./fleet.js";
import { amount, clock, dollars, headline, length, sentence, time } from "./format.js";
import { language, noticeTitle, t } from "./i18n.js";

/** What the small charts show, and how often they are read again. */
const SPARK = 15 * 60_000;
const SPARK_STEP = 10_000;
const SPARK_AGAIN = 15_000;
/** Small charts at the most: one question each. */
const SPARKS = 40;
/** What happens often is read again at most so often. */
const RECENT_AGAIN = 2_000;
/** Rows that are made at once; the next come into being when the reader gets near to them. */
const ROWS = 60;
/** A list so short leaves room below it. */
const FEW = 12;
/** Things held up that are listed one by one at the most. */
const BLOCKED = 12;
const KEPT_SORT = "headroom.sort";
/** Orders of the list. */
const SORTS = {
  tier: (a, b) => tierOf(a).localeCompare(tierOf(b)) || byName(a, b),
  name: byName,
  state: (a, b) => STATES.indexOf(status(a)) - STATES.indexOf(status(b)) || byName(a, b),
  replicas: (a, b) => (b.replicas?.ready ?? -1) - (a.replicas?.ready ?? -1) || byName(a, b),
  cost: (a, b) => (cost(b) ?? -1) - (cost(a) ?? -1) || byName(a, b),
};

export class Overview {
  constructor(app) {
    this.app = app;
    this.rows = new Map();
    this.limit = ROWS;
    this.order = SORTS[localStorage.getItem(KEPT_SORT)] ? localStorage.getItem(KEPT_SORT) : "tier";
    this.stopped = new AbortController();
    this.tiles = h("section", { class: "tiles", "aria-label": t("overview") });
    this.input = h("input", { type: "search", id: "filter", placeholder: t("filter"), "aria-label": t("filter"), autocomplete: "off", spellcheck: "false", oninput: () => this.#again() });
    this.state = choice("state", [["", t("stateAll")], ["blocked", t("stateBlocked")], ...STATES.map((one) => [one, t(`status_${one}`)])], "", () => this.#again());
    this.sort = choice("sort", Object.keys(SORTS).map((one) => [one, t(`sort_${one}`)]), this.order, () => this.#sorted());
    this.further = h("button", { class: "quiet wide", hidden: true, onclick: () => this.#further() });
    this.watcher = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && this.#further(), { rootMargin: "400px" });
    this.watcher.observe(this.further);
    this.blocked = h("section", { class: "panel blocked", "aria-label": t("blocked"), hidden: true });
    this.list = h("ul", { class: "rows", id: "workloads" });
    this.none = h("p", { class: "empty", hidden: true });
    this.recent = h("ol", { class: "feed" }, skeleton(4));
    this.alerts = h("section", { class: "panel", id: "alerts", "aria-label": t("alerts"), hidden: true });
    this.sources = h("section", { class: "panel", id: "sources", "aria-label": t("sources"), hidden: true });
    this.notifiers = h("section", { class: "panel", id: "notifiers", "aria-label": t("notifiers"), hidden: true });
    this.notices = h("div", { class: "notices" });
    this.foot = h("footer", { class: "foot" });
    this.element = h("div", { class: "page overview" },
      h("h1", { class: "sr" }, t("overview")),
      this.tiles,
      this.blocked,
      h("div", { class: "columns" },
        this.mainColumn = h("div", { class: "main-column" }, h("section", { class: "panel" },
          h("header", { class: "panel-head" }, h("h2", {}, t("workloads")), h("div", { class: "tools" }, this.state, this.sort, h("label", { class: "filter" }, icon("search"), this.input, h("kbd", {}, "/")))),
          this.list, this.none, this.further)),
        this.side = h("aside", { class: "side" },
          this.alerts,
          h("section", { class: "panel" }, h("header", { class: "panel-head" }, h("h2", {}, t("recent"))), this.recent),
          this.health = h("div", { class: "health" }, this.sources, this.notifiers, this.notices))),
      this.foot);
    this.update();
    this.#readRecent();
    this.timer = setInterval(() => this.#readSparks(), SPARK_AGAIN);
    this.#readSparks();
  }

  destroy() {
    this.stopped.abort();
    clearTimeout(this.soon);
    this.watcher.disconnect();
    clearInterval(this.timer);
  }

  heard(name) {
    // One that is waited for is enough, however many changes there are.
    if ((name === "action" || name === "missed") && !this.soon) {
      this.soon = setTimeout(() => { this.soon = null; this.#readRecent(); }, RECENT_AGAIN);
    }
    if (name === "fleet") this.#readSparks();
  }

  /** Shows the overview as it is now. */
  update() {
    const { overview } = this.app;
    if (!overview) return;
    this.#showTiles(overview);
    this.#showBlocked(overview);
    this.#showRows(overview);
    this.#showAlerts(overview);
    this.#showSources(overview);
    this.#showNotifiers(overview);
    this.#showNotices(overview.notices);
    this.#placeHealth(overview);
    this.#showFoot(overview);
  }

  #showFoot({ version, startedAt }) {
    const print = JSON.stringify([version, startedAt]);
    if (print === this.footPrint) return;
    this.footPrint = print;
    put(this.foot,
      h("div", {}, h("span", {}, t("startedAt", { version }), " ", time(startedAt)), h("span", {}, t("localTime")), h("a", { href: "/openapi.json" }, t("api"))),
      h("div", { class: "save-box" }, saves(t("workloads"), "overview"), saves(t("blocked"), "held"), saves(t("decisions"), "decisions", { changes: true, limit: 200 }), saves(t("alerts"), "alerts"), saves(t("sources"), "sources"), saves(t("notifiers"), "notifiers"), saves(t("notices"), "notices", { limit: 200 })));
  }

  /** What a few workloads leave free below them is for the health of what is around; a long list keeps it beside. */
  #placeHealth({ workloads }) {
    const column = workloads.length <= FEW ? this.mainColumn : this.side;
    if (this.health.parentElement !== column) column.append(this.health);
  }

  /** The list from its beginning, after the reader asked for another part of it. */
  #again() {
    this.limit = ROWS;
    if (this.app.overview) this.#showRows(this.app.overview);
  }

  #sorted() {
    this.order = this.sort.value;
    localStorage.setItem(KEPT_SORT, this.order);
    this.#again();
  }

  #further() {
    if (this.further.hidden) return;
    this.limit += ROWS;
    this.#showRows(this.app.overview);
    this.#readSparks();
  }

  #sought(view) {
    const sought = this.input.value.trim().toLowerCase();
    const state = this.state.value;
    const isState = !state || (state === "blocked" ? blocks(view).length > 0 : status(view) === state);
    return isState && (!sought || view.name.includes(sought) || view.tier?.toLowerCase().includes(sought));
  }

  #showRows({ workloads }) {
    const found = workloads.filter((view) => this.#sought(view)).sort(SORTS[this.order]);
    const tiers = this.order === "tier" ? groupByTier(found) : null;
    const shown = found.slice(0, this.limit);
    const names = new Set(shown.map((view) => view.name));
    for (const [name, row] of this.rows) if (!names.has(name)) { row.element.remove(); this.rows.delete(name); }
    let last = null;
    shown.forEach((view, place) => {
      const row = this.rows.get(view.name) ?? new Row(view.name);
      this.rows.set(view.name, row);
      row.update(view);
      const tier = tierOf(view);
      row.tierStart(tiers && (place === 0 || tier !== last) ? tierSays(view.tier, tiers.get(tier)) : null);
      last = tier;
      if (this.list.children[place] !== row.element) this.list.insertBefore(row.element, this.list.children[place] ?? null);
    });
    this.further.hidden = found.length <= shown.length;
    text(this.further, t("showMore", { n: found.length - shown.length }));
    this.none.hidden = found.length > 0;
    text(this.none, t(workloads.length ? "filterNone" : "noWorkloads"));
  }

  /** What keeps workloads from what they should be, with what a person can do about it. */
  #showBlocked({ workloads, breaker }) {
    const all = workloads.flatMap((view) => blocks(view).map((kind) => ({ kind, view })));
    all.sort((a, b) => BLOCKS.indexOf(a.kind) - BLOCKS.indexOf(b.kind) || byName(a.view, b.view));
    const listed = all.slice(0, BLOCKED);
    const print = JSON.stringify([all.length, breaker, listed.map(({ kind, view }) => [kind, view.name, view.pending, view.freeze, view.range, view.trouble, view.replicas?.failed, view.faults])]);
    if (print === this.blockedPrint) return;
    this.blockedPrint = print;
    this.blocked.hidden = all.length === 0 && !breaker;
    put(this.blocked,
      h("header", { class: "panel-head" }, h("h2", {}, t("blocked")), h("span", { class: "muted" }, all.length + (breaker ? 1 : 0))),
      h("ul", { class: "blocks" }, breaker && breakerItem(this.app, breaker), listed.map(({ kind, view }) => blockItem(this.app, kind, view)),
        all.length > listed.length && h("li", { class: "muted" }, t("blockedMore", { n: all.length - listed.length }))));
  }

  #showAlerts({ alerts, alertsInAll }) {
    const print = JSON.stringify([alertsInAll, alerts]);
    if (print === this.alertsPrint) return;
    this.alertsPrint = print;
    this.alerts.hidden = alertsInAll === 0;
    put(this.alerts,
      h("header", { class: "panel-head" }, h("h2", {}, t("alerts")), h("span", { class: "muted" }, alertsInAll)),
      h("ol", { class: "feed" }, alerts.map((alert) => h("li", {}, alertItem(alert))), alertsInAll > alerts.length && h("li", { class: "rest" }, t("more", { n: alertsInAll - alerts.length }))));
  }

  #showSources({ sources, sourcesInAll, sourcesDown }) {
    this.sources.hidden = sourcesInAll === 0;
    // Ages go on every second; what can be selected stays.
    const print = JSON.stringify([sourcesInAll, sourcesDown, sources.map((one) => [one.name, one.state, one.why])]);
    if (print !== this.sourcesPrint) {
      this.sourcesPrint = print;
      this.ages = new Map();
      put(this.sources,
        h("header", { class: "panel-head" }, h("h2", {}, t("sources")), h("span", { class: sourcesDown ? "count failed" : "muted" }, sourcesDown ? t("sourcesDown", { n: sourcesDown, all: sourcesInAll }) : t("sourcesFine"))),
        h("ul", { class: "sources" }, sources.map((one) => sourceItem(one, this.ages)), sourcesInAll > sources.length && h("li", { class: "rest" }, t("more", { n: sourcesInAll - sources.length }))));
    }
    for (const one of sources) {
      const age = Math.max(0, this.app.at - Date.parse(one.heardAt));
      text(this.ages.get(one.name), t("ago", { time: length(Math.floor(age / 1000) * 1000) }));
    }
  }

  #showNotifiers({ notifiers, notifiersInAll }) {
    const print = JSON.stringify([notifiersInAll, notifiers]);
    if (print === this.notifiersPrint) return;
    this.notifiersPrint = print;
    this.notifiers.hidden = notifiersInAll === 0;
    const lame = notifiers.filter((one) => one.state !== "fine").length;
    put(this.notifiers,
      h("header", { class: "panel-head" }, h("h2", {}, t("notifiers")), h("span", { class: lame ? "count failed" : "muted" }, lame ? t("notifiersLame", { n: lame, all: notifiersInAll }) : t("notifiersFine"))),
      h("ul", { class: "sources" }, notifiers.map(notifierItem), notifiersInAll > notifiers.length && h("li", { class: "rest" }, t("more", { n: notifiersInAll - notifiers.length }))));
  }

  #showTiles({ workloads }) {
    const sum = (of) => workloads.reduce((total, view) => total + (of(view) ?? 0), 0);
    const ready = sum((line) => line.replicas?.ready);
    const wanted = sum((line) => line.replicas?.wanted);
    const priced = workloads.filter((line) => cost(line) !== null);
    const costs = priced.reduce((total, view) => total + (cost(view) ?? 0), 0);
    const wary = workloads.filter((view) => status(view) === "trouble");
    const changes = this.changes;
    put(this.tiles,
      tile(t("replicasReady"), ready, t("ofWanted", { n: wanted }), ready < wanted ? "warn" : ""),
      tile(t("running"), priced.length ? t("perHour", { cost: dollars(costs) }) : "–", priced.length ? (priced.length < workloads.length ? t("costPartly") : t("perMonth", { cost: dollars(costs * 730) })) : t("costUnknown")),
      tile(t("changesHour"), changes ? `${changes.up + changes.down}${changes.more ? "+" : ""}` : "–", changes ? (changes.up + changes.down ? t("changesSplit", changes) : t("changesNone")) : " "),
      tile(t("attention"), wary.length, wary.length ? wary.map((view) => view.name).join(", ") : t("attentionNone"), wary.length ? "bad" : "ok"));
  }

  #showNotices(notices) {
    if (!notices.length) return put(this.notices);
    return put(this.notices, h("section", { class: "panel" }, h("header", { class: "panel-head" }, h("h2", {}, t("notices"))),
      h("ol", { class: "feed" }, notices.slice(0, 6).map((notice) => h("li", { class: "notice" }, h("a", { href: `#/w/${notice.workload}` }, notice.workload), time(notice.at), h("p", { class: "alert-what" }, noticeTitle(notice.code)), h("p", {}, marked(notice.message, Date.parse(notice.at))))))));
  }

  async #readRecent() {
    try {
      const signal = this.stopped.signal;
      const [latest, hour] = await Promise.all([
        readExplained("headlines", { changes: true, since: "24h", limit: 8 }, signal),
        readExplained("headlines", { changes: true, since: "1h", limit: 200 }, signal),
      ]);
      const up = hour.headlines.filter((one) => one.to > one.from).length;
      this.changes = { up, down: hour.headlines.length - up, more: hour.next !== null };
      if (this.app.overview) this.#showTiles(this.app.overview);
      if (!latest.headlines.length) return put(this.recent, h("li", { class: "empty" }, t("recentNone")));
      return put(this.recent, latest.headlines.map((one) =>
        h("li", {}, h("a", { class: "feed-item", href: `#/d/${one.id}` },
          h("span", { class: "feed-head" }, h("b", {}, one.id.replace(/-\d+$/, "")), verdict(one), time(one.at)),
          h("span", { class: "feed-why" }, sentence(reasonOf(one.headline), Date.parse(one.at)))))));
    } catch {
      // The stream says whether the server is there; the next change asks again.
      return null;
    }
  }

  async #readSparks() {
    const { overview, settings } = this.app;
    if (!overview) return;
    const names = [...this.rows.keys()].slice(0, SPARKS);
    try {
      await this.app.readSettings(names, this.stopped.signal);
      for (const name of names) {
        const row = this.rows.get(name);
        const workload = settings.get(name);
        const main = mainSignal(workload);
        if (!row || !main) continue;
        const answer = await read(`workloads/${name}/series`, { name: [main.signal, "replicas.ready"], since: "15m", points: 120 }, this.stopped.signal);
        row.spark(answer, main, signalShape(workload.signals[main.signal]).unit);
      }
    } catch {
      // The next round asks again.
    }
  }

  /** Moves the focus by one workload. */
  step(by) {
    const links = [...this.list.querySelectorAll("a.row")];
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

function byName(a, b) {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

/** The tier as it is sorted by; workloads without one come last. */
function tierOf(view) {
  return view.tier ?? "\uffff";
}

function groupByTier(workloads) {
  const tiers = new Map();
  for (const view of workloads) tiers.set(tierOf(view), [...(tiers.get(tierOf(view)) ?? []), view]);
  return tiers;
}

/** A tier in one line: its name, its replicas, what it costs, what is held up. */
function tierSays(name, workloads) {
  const sum = (of) => workloads.reduce((total, view) => total + (of(view) ?? 0), 0);
  const costs = sum(cost);
  const stuck = workloads.filter((view) => blocks(view).length).length;
  const parts = [t(workloads.length === 1 ? "tierWorkload" : "tierWorkloads", { n: workloads.length }), t("tierSays", { ready: sum((line) => line.replicas?.ready), wanted: sum((line) => line.replicas?.wanted) })];
  if (costs > 0) parts.push(t("perHour", { cost: dollars(costs) }));
  if (stuck) parts.push(t("tierBlocked", { n: stuck }));
  return { name: name ?? t("noTier"), more: parts.join(" · ") };
}

/** A list to choose from, with its name for those who do not see where it stands. */
function choice(id, options, chosen, onchange) {
  return h("select", { id, "aria-label": t(id), onchange }, options.map(([value, label]) => h("option", { value, selected: value === chosen }, label)));
}

const BLOCK_SYMBOLS = { approval: "pause", trouble: "warn", source: "warn", frozen: "freeze", maximum: "up", breaker: "guard" };

function blockLine(kind, subject, words, ...buttons) {
  return h("li", { class: `block ${kind}`, "data-block": kind }, h("span", { class: `tag ${kind}` }, icon(BLOCK_SYMBOLS[kind]), t(`block_${kind}`)),
    subject, h("span", { class: "block-says" }, words), h("span", { class: "block-do" }, buttons));
}

function breakerItem(app, breaker) {
  return blockLine("breaker", h("a", { class: "block-name", href: `#/w/${breaker.workload}` }, breaker.workload), [t("breakerSays", breaker), " · ", until(breaker.until)],
    h("button", { class: "button", id: "close-breaker", onclick: () => closeBreakerDialog(app) }, t("breakerClose")));
}

function blockItem(app, kind, view) {
  const { name } = view;
  const subject = h("a", { class: "block-name", href: `#/w/${name}` }, name);
  switch (kind) {
    case "approval": {
      const { pending } = view;
      const words = h("a", { href: `#/d/${pending.decision}` }, t("waitsFrom", { from: pending.from, to: pending.to, time: clock(Date.parse(pending.at)) }));
      return blockLine(kind, subject, words,
        h("button", { class: "button primary", "data-approve": name, onclick: () => answerDialog(app, name, pending, true) }, t("approve")),
        h("button", { class: "button", "data-reject": name, onclick: () => answerDialog(app, name, pending, false) }, t("reject")));
    }
    case "frozen":
      return blockLine(kind, subject, [t("frozenBy", view.freeze), " · ", view.freeze.until ? until(view.freeze.until) : t("forEver")],
        h("button", { class: "button", "data-thaw": name, onclick: () => thaw(app, name) }, t("thaw")));
    case "source":
      return blockLine(kind, subject, t("sourceSays", { names: view.faults.join(", ") }));
    case "maximum":
      return blockLine(kind, subject, t("maximumSays", view.range));
    default:
      return blockLine(kind, subject, view.trouble ?? t("failedSays", { n: view.replicas.failed }));
  }
}

/** Words of the server with what stands in backticks as code, and moments in the reader's zone. */
function marked(words, near = Date.now()) {
  const moment = (part) => part.split(/(\d{4}-\d\d-\d\dT[\d:.]+Z)/).map((piece, i) => (i % 2 ? time(piece) : sentence(piece, near)));
  return words.split("`").map((part, i) => (i % 2 ? h("code", {}, part) : moment(part)));
}

/** What an alert is about, as a link where there is more to see. */
function subjectOf({ subject, decision }) {
  if (subject === "fleet") return h("b", {}, t("fleet"));
  if (subject.source) return h("b", {}, `${t("source")} ${subject.source}`);
  return h("a", { href: decision ? `#/d/${decision}` : `#/w/${subject.workload}` }, subject.workload);
}

/** An alert that stands: how much it matters, what holds, since when, why, and what to do. */
export function alertItem(alert) {
  return h("div", { class: `alert ${alert.severity}`, "data-alert": alert.kind },
    h("span", { class: "alert-head" }, h("span", { class: `tag ${alert.severity}` }, t(`severity_${alert.severity}`)), subjectOf(alert), h("span", { class: "spring" }), time(alert.since)),
    h("p", { class: "alert-what" }, alert.headline),
    h("p", { class: "alert-why" }, marked(alert.why, Date.parse(alert.since))),
    alert.nextStep && h("p", { class: "next-step" }, marked(alert.nextStep)));
}

/** A source: whether it answers, how long ago, and what to do if not. Where its age stands goes to `ages`. */
function sourceItem(one, ages) {
  const age = h("span", { class: "source-age" });
  ages.set(one.name, age);
  return h("li", { class: `source-line ${one.state}`, "data-source": one.name },
    h("span", { class: "source-head" }, h("i", { class: "dot", "aria-hidden": "true" }), h("b", {}, one.name), h("span", { class: "source-state" }, t(`source_${one.state}`)), h("span", { class: "spring" }), age),
    one.downSince && h("p", { class: "muted" }, t("downSince"), " ", time(one.downSince)),
    one.why && h("p", { class: "alert-why", lang: "en" }, marked(one.why)),
    one.nextStep && h("p", { class: "next-step" }, marked(one.nextStep)));
}

/** A notifier: whether it takes what it is told, what waits, why it fails and what to do. */
function notifierItem(one) {
  const counts = [one.waiting > 0 && t("notifierWaiting", { n: one.waiting }), one.givenUp > 0 && t("notifierGivenUp", { n: one.givenUp })].filter(Boolean);
  return h("li", { class: `source-line ${one.state}`, "data-notifier": one.name },
    h("span", { class: "source-head" }, h("i", { class: "dot", "aria-hidden": "true" }), h("b", {}, one.name), h("span", { class: "source-state" }, t(`notifier_${one.state}`)), h("span", { class: "spring" }),
      h("span", { class: "source-age" }, one.toldAt ? [t("toldAt"), " ", time(one.toldAt)] : t("toldNever"))),
    one.failingSince && h("p", { class: "muted" }, t("failingSince"), " ", time(one.failingSince)),
    counts.length > 0 && h("p", { class: "muted" }, counts.join(" · ")),
    one.why && h("p", { class: "alert-why", lang: "en" }, marked(one.why)),
    one.nextStep && h("p", { class: "next-step" }, marked(one.nextStep)));
}

/** What is figures alone, in no language. */
const WORDLESS = /(series|forecast)$/;

/** Links to what a view shows, as a table and as JSON. */
export function saves(what, path, params = {}) {
  const lang = WORDLESS.test(path) ? undefined : language();
  const link = (format) => h("a", { href: address(path, { ...params, lang, format }), download: `${path.replaceAll("/", "-")}.${format}`, "aria-label": t("exportFor", { what: what || path, format: format.toUpperCase() }) }, format.toUpperCase());
  return h("span", { class: "saves" }, what && `${what}: `, link("csv"), " ", link("json"));
}

function tile(name, value, more, tone = "") {
  return h("div", { class: `tile ${tone}` }, h("span", { class: "tile-name" }, name), h("span", { class: "tile-value" }, value), h("span", { class: "tile-more" }, more));
}

function skeleton(n) {
  return Array.from({ length: n }, () => h("li", { class: "skeleton" }));
}

/** Ready, starting, draining and failed replicas as small bars within the allowed range. */
export function pips(view) {
  const seen = view.replicas ?? view.status;
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
    this.heading = h("div", { class: "tier-head", hidden: true });
    this.element = h("li", {}, this.heading, h("a", { class: "row", href: `#/w/${name}`, "data-workload": name },
      h("span", { class: "row-name" }, h("b", {}, name), this.state), this.count, this.sparkBox, this.why));
  }

  /** The heading above it where a tier begins with it: `{ name, more }`. */
  tierStart(tier) {
    const print = tier ? JSON.stringify(tier) : "";
    if (print === this.tierPrint) return;
    this.tierPrint = print;
    this.heading.hidden = !tier;
    put(this.heading, tier && [h("b", {}, tier.name), h("span", {}, tier.more)]);
  }

  update(line) {
    this.learned = line.carries;
    const state = status(line);
    const seen = line.replicas;
    const said = line.decision;
    const print = JSON.stringify([state, seen, said?.headline, said?.until, line.freeze, document.documentElement.lang]);
    if (print === this.print) return;
    this.print = print;
    put(this.state, badge(state));
    const label = seen ? `${seen.ready} ${t("ready")}, ${t("ofWanted", { n: seen.wanted })}` : t("status_unknown");
    put(this.count, h("span", { class: "figure", title: label }, h("b", {}, seen ? seen.ready : "–"), h("span", {}, ` / ${seen ? seen.wanted : "–"}`)), pips(line), h("span", { class: "sr" }, label));
    put(this.why, said ? headline(said.headline, Date.parse(said.at)) : t("status_unknown"), said?.until && h("span", { class: "row-until" }, until(said.until, said.headline.includes(" UTC"))));
  }

  spark(answer, main, unit) {
    const to = Date.parse(answer.until);
    const from = to - SPARK;
    const [signal, ready] = answer.series;
    const values = grid(signal, from, to, SPARK_STEP, SPARK_STEP);
    const share = carries(main, this.learned);
    const limit = share ? grid(ready, from, to, SPARK_STEP, 2 * SPARK_STEP).map((n) => (n === null ? null : n * share)) : values.map(() => null);
    const last = signal?.last.at(-1);
    const said = last === undefined ? t("missing") : amount(last, unit);
    put(this.sparkBox, sparkline(values, limit, `${main.signal}: ${said}`), h("span", { class: "spark-value" }, h("span", {}, main.signal), h("b", {}, said)));
  }
}


