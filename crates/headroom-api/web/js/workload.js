// One workload: its charts, its decisions in time, each of which unfolds.
import { read, readExplained, Refused } from "./api.js";
import { Chart, Crosshair, grid } from "./chart.js";
import { chain, signalChip, until, verdict } from "./decision.js";
import { answerDialog, freezeDialog, thaw } from "./dialogs.js";
import { h, icon, put } from "./dom.js";
import { carries, cost, faults, limits, mainSignal, signalShape, status } from "./fleet.js";
import { amount, clock, dollars, headline, length, parseSpan, price, sentence, time } from "./format.js";
import { t } from "./i18n.js";
import { alertItem, badge, pips, reasonOf, saves } from "./overview.js";

/** The ranges, in milliseconds, as the keys 1 to 7 choose them. */
export const RANGES = [["5m", 300e3], ["15m", 900e3], ["1h", 3600e3], ["6h", 21600e3], ["24h", 86400e3], ["7d", 604800e3], ["30d", 2592000e3]];
/** What is shown unless the reader picked another or the data is younger. */
const USUAL = RANGES[2];
const KEPT_RANGE = "headroom.range";
/** Decisions listed, or read, at once. */
const PAGE = 50;
/** Changes marked in the charts at the most: all that one question gives. */
const MARKS = 200;
/** Decisions listed at the most before the list begins anew; a page may stay open for days. */
const LISTED = 500;
/** Marks of decisions nearer than so many pixels become one. */
const MARK_ROOM = 32;
/** The length of a forecast's steps, and how often it is read again. */
const FORESIGHT_STEP = 300_000;
const FORESIGHT_AGAIN = 60_000;
/** A headline with more characters is too long for bold. */
const LONG_WORDS = 90;
/** Points as long as this stand for so many samples that their least and largest values are drawn too. */
const SPREAD_FROM = 10_000;
/** Colours of signals beyond the main one, in turn. */
const TONES = ["latency", "second", "third", "fourth"];
const COUNTS = ["replicas.ready", "replicas.starting", "replicas.draining", "replicas.wanted"];

export class WorkloadPage {
  /** `decision` is the id of one to unfold, or null. */
  constructor(app, name, decision) {
    this.app = app;
    this.name = name;
    this.open = decision;
    this.stopped = new AbortController();
    this.crosshair = new Crosshair();
    this.charts = [];
    this.decisions = [];
    this.changes = [];
    this.next = null;
    this.listed = PAGE;
    this.onlyChanges = true;
    const kept = localStorage.getItem(KEPT_RANGE);
    const picked = RANGES.find(([key]) => key === kept);
    /** Until the reader picks a range, the shortest that holds the data is shown, up to the usual one. */
    this.fitting = !picked;
    this.range = picked ?? USUAL;
    this.stateBox = h("span", { class: "slot" });
    this.tagBox = h("span", { class: "slot" });
    this.wordBox = h("span", { class: "slot" });
    this.factBox = h("dl", { class: "facts" });
    this.callouts = h("div", { class: "callouts" });
    this.nowText = h("div", {});
    this.nowMore = h("a", { class: "more", hidden: true }, t("openDecision"), icon("chevron"));
    this.nowChips = h("div", { class: "chips" });
    this.ranges = h("div", { class: "segments", role: "group", "aria-label": t("range") });
    this.saves = h("span", { class: "save-box" });
    this.lane = h("div", { class: "lane", role: "group", "aria-label": t("decisionsLane") });
    this.chartBox = h("div", { class: "charts panel" }, h("div", { class: "chart-skeleton" }), h("div", { class: "chart-skeleton" }));
    this.tabs = h("div", { class: "segments small", role: "group", "aria-label": t("decisions") });
    this.linked = h("div", { class: "linked" });
    this.list = h("ol", { class: "timeline" }, Array.from({ length: 6 }, () => h("li", { class: "skeleton" })));
    this.more = h("button", { class: "quiet wide", hidden: true, onclick: () => this.#readDecisions(true) }, t("older"));
    this.element = h("div", { class: "page workload" },
      h("section", { class: "workload-head" },
        h("div", { class: "title-line" },
          h("a", { class: "crumb", href: "#/", "aria-label": t("backToOverview") }, icon("back")),
          h("h1", {}, name), this.stateBox, this.tagBox, h("span", { class: "spring" }), this.wordBox),
        this.factBox, this.callouts),
      h("section", { class: "now panel" },
        h("div", { class: "now-text" }, h("h2", { class: "eyebrow" }, t("now")), this.nowText, this.nowMore),
        this.nowChips),
      h("div", { class: "columns" },
        h("div", { class: "main-column" },
          h("div", { class: "toolbar" }, this.ranges, h("span", { class: "spring" }), this.saves),
          this.chartBox),
        h("aside", { class: "side panel timeline-panel" },
          h("header", { class: "panel-head" }, h("h2", {}, t("decisions")), this.tabs),
          this.linked, this.list, this.more)));
    this.#showRanges();
    this.#showTabs();
    put(this.stateBox, this.line && badge(status(this.line)));
    this.#start();
  }

  destroy() {
    this.stopped.abort();
    clearTimeout(this.again);
    clearTimeout(this.soon);
    for (const chart of this.charts) chart.destroy();
  }

  async #start() {
    try {
      await Promise.all([this.app.readSettings([this.name], this.stopped.signal), this.#readView()]);
      // Some of it can be said only now that the policy is there too.
      if (this.view) this.#show();
    } catch (error) {
      if (error.name === "AbortError") return;
      // The stream says whether the server is there; it reads again once it is.
    }
    // The list is read for the range that is shown, and not twice: what was just clicked must not be replaced.
    const series = this.#readSeries();
    if (this.fitting) await series;
    await Promise.all([series, this.#readDecisions(false)]);
    this.started = true;
    if (this.open) await this.#reveal(this.open);
  }

  get settings() {
    return this.app.settings.get(this.name);
  }

  get line() {
    return this.app.overview?.workloads.find((one) => one.name === this.name);
  }

  /** Reads all there is to know of the workload, and its alerts. */
  async #readView() {
    if (this.reading) return;
    this.reading = true;
    try {
      const { signal } = this.stopped;
      const [view, { alerts }] = await Promise.all([readExplained(`workloads/${this.name}`, {}, signal), readExplained("alerts", { workload: this.name }, signal)]);
      Object.assign(this, { view, alerts });
      this.#show();
    } finally {
      this.reading = false;
    }
  }

  heard(name, data) {
    if (name === "fleet") {
      this.#dropCharts();
      this.app.settings.delete(this.name);
      this.#readSeries();
    }
    if (name === "missed" || name === "fleet" || (name === "decision" && data.id.replace(/-\d+$/, "") === this.name)) {
      clearTimeout(this.soon);
      this.soon = setTimeout(() => this.#readNew(), 700);
    }
  }

  // The head: what is, why, until when.

  /** There is news, once a second: looks again, unless nobody does. */
  update() {
    if (this.line) changed(this.stateBox, [status(this.line)], () => badge(status(this.line)));
    if (document.visibilityState === "visible") this.#readView().catch(() => null);
  }

  #show() {
    const view = this.view;
    const seen = view.status;
    // Each part is made anew only when it changes: what is being clicked must not be replaced under the pointer.
    changed(this.tagBox, [view.tier, view.listen], () => [view.tier && h("span", { class: "tag" }, view.tier), view.listen && h("span", { class: "tag mono" }, view.listen)]);
    changed(this.wordBox, [view.freeze !== null], () => view.freeze
      ? h("button", { class: "button", id: "thaw", onclick: () => thaw(this.app, this.name) }, icon("freeze"), t("thaw"))
      : h("button", { class: "button", id: "freeze", onclick: () => freezeDialog(this.app, this.name) }, icon("freeze"), t("freeze")));
    changed(this.factBox, [seen && [seen.wanted, seen.ready, seen.starting, seen.draining, seen.failed], view.range, view.price, view.startUp, view.drain, view.capacity, seen && seen.pool && [seen.pool.wanted, seen.pool.warm, seen.pool.warming], loadOf(view, this.settings), view.near, view.forecast?.accuracy, faults(view).map((one) => one.name)], () => facts(view, this.settings));
    changed(this.callouts, [view.freeze, view.pending, seen?.troubles, this.alerts], () => [
      this.alerts.length > 0 && h("section", { class: "panel alerts", "aria-label": t("alerts") }, h("ul", { class: "feed" }, this.alerts.map((alert) => h("li", {}, alertItem(alert))))),
      view.pending && this.#pending(view.pending),
      view.freeze && h("p", { class: "callout frozen" }, icon("freeze"), h("span", {}, t("frozenBy", view.freeze), " · ", view.freeze.until ? until(view.freeze.until) : t("forEver"))),
      (seen?.troubles ?? []).map((trouble) => h("p", { class: "callout bad" }, icon("warn"), h("span", {}, trouble.message)))]);
    this.#showSaves();
    const said = view.explanation;
    const at = view.latest ? Date.parse(view.latest.at) : Date.now();
    changed(this.nowText, [said?.headline, said?.until], () => [
      ...nowSays(said?.headline, at),
      said?.until && h("p", { class: "muted" }, until(said.until, said.headline.includes(" UTC")))]);
    this.nowMore.hidden = !view.latest;
    if (view.latest) this.nowMore.href = `#/d/${view.latest.id}`;
    changed(this.nowChips, [view.signals], () => view.signals.map(signalChip));
  }

  #pending(pending) {
    return h("div", { class: "callout waits" }, icon("pause"), h("a", { href: `#/d/${pending.decision}` }, t("waitsFrom", { from: pending.from, to: pending.to, time: clock(Date.parse(pending.at)) })), h("span", { class: "spring" }),
      h("button", { class: "button primary", "data-approve": this.name, onclick: () => answerDialog(this.app, this.name, pending, true) }, t("approve")),
      h("button", { class: "button", "data-reject": this.name, onclick: () => answerDialog(this.app, this.name, pending, false) }, t("reject")));
  }

  // Time range.

  #showRanges() {
    put(this.ranges, RANGES.map(([key]) =>
      h("button", { "aria-pressed": String(key === this.range[0]), "data-range": key, onclick: () => this.setRange(key) }, t(`r${key}`))));
    this.#showSaves();
  }

  #showSaves() {
    const since = this.range[0];
    const isForecast = Boolean(this.view?.forecast);
    changed(this.saves, [since, isForecast], () => [
      saves(t("saveSeries"), `workloads/${this.name}/series`, { since }),
      isForecast && saves(t("saveForecast"), `workloads/${this.name}/forecast`),
      saves(t("decisions"), `workloads/${this.name}/decisions`, { since, limit: 200 })]);
  }

  setRange(key) {
    const range = RANGES.find(([one]) => one === key);
    if (!range) return;
    this.fitting = false;
    this.range = range;
    localStorage.setItem(KEPT_RANGE, key);
    this.#showRanges();
    // The figures first: they are what the reader waits for.
    this.#readSeries().then(() => range === this.range && this.#readDecisions(false));
  }

  // Charts.

  #dropCharts() {
    for (const chart of this.charts) chart.destroy();
    this.charts = [];
  }

  #makeCharts() {
    const settings = this.settings;
    const main = mainSignal(settings);
    const signals = Object.entries(settings?.signals ?? {}).map(([name, signal]) => ({ name, ...signalShape(signal) }));
    const crosshair = this.crosshair;
    const share = carries(main, this.view?.capacity?.usable);
    this.recipes = [];
    const add = (chart, recipe) => {
      this.charts.push(chart);
      this.recipes.push(recipe);
    };
    const mainShape = signals.find((one) => one.name === main?.signal);
    if (mainShape && mainShape.scope !== "quality") {
      const series = [{ key: "demand", signal: mainShape.name, label: mainShape.name, kind: "line", tone: "demand" }];
      if (share) {
        series.push({ key: "capacity", label: t("capacity"), kind: "step", tone: "capacity" });
        series.push({ key: "room", label: t("headroom"), kind: "room", tone: "room", format: (v) => amount(v, "ratio").replace("-", "−") });
      }
      const isForecast = this.view?.forecast?.signal === mainShape.name;
      if (isForecast) {
        series.push({ key: "foreseen", label: t("foreseen"), kind: "line", tone: "foreseen" });
        series.push({ key: "foreseen95", label: t("foreseen95"), kind: "room", tone: "foreseen" });
      }
      const foreseen = (make) => (isForecast ? { foreseen: make.foreseen("q50"), foreseen95: make.foreseen("q95") } : {});
      const bands = isForecast ? [["foreseen", "foreseen95"]] : [];
      add(new Chart({ title: share ? t("demandVsCapacity") : t("demand"), unit: mainShape.unit, series, between: share ? ["demand", "capacity"] : null, bands, height: 208, crosshair }),
        (make) => {
          const demand = make.signal(mainShape.name);
          if (!share) return { demand, ...foreseen(make) };
          const capacity = make.count("replicas.ready").map((n) => (n === null ? null : n * share));
          // What is ready beyond what is asked for, as a share of what is asked for.
          const room = demand.map((v, i) => (v && capacity[i] !== null ? capacity[i] / v - 1 : null));
          return { demand, capacity, room, ...foreseen(make) };
        });
    }
    add(new Chart({
      title: t("replicas"), unit: "count", integers: true, height: 150, crosshair,
      series: [
        { key: "ready", label: t("ready"), kind: "stack", tone: "ready" },
        { key: "starting", label: t("starting"), kind: "stack", tone: "starting" },
        { key: "draining", label: t("draining"), kind: "stack", tone: "draining" },
        { key: "wanted", signal: "replicas.wanted", label: t("wanted"), kind: "step", tone: "wanted" },
      ],
    }), (make) => ({ ready: make.count("replicas.ready"), starting: make.count("replicas.starting"), draining: make.count("replicas.draining"), wanted: make.count("replicas.wanted") }));
    const groups = new Map();
    const wanted = limits(settings);
    for (const one of signals) {
      if (one.name === main?.signal && mainShape.scope !== "quality") continue;
      const key = `${one.scope} ${one.unit}`;
      groups.set(key, [...(groups.get(key) ?? []), one]);
    }
    const order = ["quality seconds", "quality ratio", "perReplica ratio", "perReplica bytes"];
    for (const [, group] of [...groups].sort(([a], [b]) => (order.indexOf(a) + 99) % 99 - (order.indexOf(b) + 99) % 99)) {
      const { unit, scope } = group[0];
      const title = unit === "seconds" ? t("latency") : scope === "quality" ? t("quality") : scope === "perReplica" ? t("perReplica") : t("total");
      const tones = TONES.slice(this.charts.length - 2).concat(TONES);
      const lines = group.map((one, i) => ({ key: one.name, signal: one.name, label: one.name, kind: "line", tone: tones[i % tones.length] }));
      const bounds = group.filter((one) => wanted[one.name]).map((one) => ({ key: `limit ${one.name}`, label: t(wanted[one.name].kind), kind: "limit", tone: "limit", value: wanted[one.name].value }));
      add(new Chart({ title, unit, height: 132, crosshair, series: [...lines, ...bounds] }),
        (make) => Object.fromEntries([...group.map((one) => [one.name, make.signal(one.name)]), ...bounds.map(({ key, value }) => [key, make.always(value)])]));
    }
    const [first, ...rest] = this.charts;
    put(this.chartBox, first.element, this.lane, rest.map((chart) => chart.element));
  }

  /** What is foreseen; it changes with its steps of five minutes. */
  #keepForecast() {
    const forecast = this.view?.forecast;
    if (!forecast) this.foresight = null;
    else if (!this.foresight || Date.now() - this.foresight.readAt > FORESIGHT_AGAIN) {
      this.foresight = { points: (forecast?.points ?? []).map((one) => ({ ...one, at: Date.parse(one.at) })), readAt: Date.now() };
    }
  }

  async #readSeries() {
    clearTimeout(this.again);
    const [key, range] = this.range;
    try {
      await this.app.readSettings([this.name], this.stopped.signal);
      const names = [...Object.keys(this.settings.signals), ...COUNTS];
      const answer = await read(`workloads/${this.name}/series`, { name: names, since: key, points: 600 }, this.stopped.signal);
      this.#keepForecast();
      if (key !== this.range[0]) return;
      if (!this.charts.length) this.#makeCharts();
      const to = Date.parse(answer.until);
      if (this.fitting && this.#fit(answer, to)) {
        if (this.started) this.#readDecisions(false);
        return this.#readSeries();
      }
      const columns = Object.fromEntries(answer.series.map((one) => [one.name, one]));
      const step = Math.max(answer.series[0]?.resolutionMs ?? 1000, range / 600);
      // Room for what is foreseen: a quarter of what was.
      const last = this.foresight?.points.at(-1)?.at ?? to;
      this.window = { from: to - range, now: to, to: Math.max(to, Math.min(last, to + range / 4)), step };
      this.columns = columns;
      this.#drawCharts();
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof Refused)) console.info("headroom: the series could not be read", error.message);
    }
    // As often as a new point can be seen, between a second and a minute.
    this.again = setTimeout(() => this.#readSeries(), Math.min(60_000, Math.max(1_000, range / 300)));
  }

  /** Takes the shortest range that holds the data; true where that is another than the one shown. */
  #fit(answer, to) {
    const firsts = answer.series.flatMap((one) => one.at.slice(0, 1));
    // A range that is full may hide what is older; what was the beginning stays the beginning.
    this.began = Math.min(this.began ?? Infinity, ...firsts);
    if (!Number.isFinite(this.began)) return false;
    const range = RANGES.slice(0, RANGES.indexOf(USUAL)).find(([, length]) => to - this.began <= length) ?? USUAL;
    if (range === this.range) return false;
    this.range = range;
    this.#showRanges();
    return true;
  }

  #drawCharts() {
    if (!this.window || !this.columns) return;
    const { from, now, to, step } = this.window;
    const points = (this.foresight?.points ?? []).filter((one) => one.at > now - FORESIGHT_STEP);
    const make = {
      always: (value) => new Array(Math.max(1, Math.ceil((to - from) / step))).fill(value),
      foreseen: (level) => grid({ at: points.map((one) => Math.max(one.at, now)), mean: points.map((one) => one[level]) }, from, to, step, FORESIGHT_STEP),
      // A signal comes once a second; three missed ones are a gap.
      signal: (name) => grid(this.columns[name], from, to, step, Math.max(3_500, 1.5 * step)),
      // A look that shows nothing new is written down every five seconds.
      count: (name) => grid(this.columns[name], from, to, step, Math.max(12_000, 1.5 * step), "last"),
    };
    const marks = this.changes.map(({ at }) => Date.parse(at));
    const chosen = this.chosen ? Date.parse(this.chosen.decision.at) : null;
    this.charts.forEach((chart, i) => chart.set({ from, to, now, step, values: this.recipes[i](make), spread: this.#spread(chart), marks, chosen }));
    this.#drawLane();
  }

  /** The least and the largest values of what a chart draws as lines, where a point stands for more than a few samples. */
  #spread(chart) {
    const { from, to, step } = this.window;
    if (step < SPREAD_FROM) return {};
    const spreads = chart.series.flatMap((one) => {
      const column = this.columns[one.signal];
      return column ? [[one.key, { min: grid(column, from, to, step, 1.5 * step, "min"), max: grid(column, from, to, step, 1.5 * step, "max") }]] : [];
    });
    return Object.fromEntries(spreads);
  }

  /** The decisions as marks between the charts, each a button. */
  #drawLane() {
    if (!this.window) return;
    const { from, to } = this.window;
    const width = Math.max(200, this.lane.clientWidth || 600);
    const groups = [];
    for (const one of [...this.changes].reverse()) {
      const share = (Date.parse(one.at) - from) / (to - from);
      if (share < 0 || share > 1) continue;
      const last = groups.at(-1);
      if (last && (share - last.share) * width < MARK_ROOM) last.all.push(one);
      else groups.push({ share, all: [one] });
    }
    const known = new Map([...this.lane.children].map((mark) => [mark.dataset.print, mark]));
    const marks = groups.map(({ share, all }) => {
      const isOpen = all.some((one) => one.id === this.open);
      const print = `${all[0].id} ${all.length} ${isOpen}`;
      const mark = known.get(print) ?? marker(all, isOpen, print);
      mark.style.setProperty("--at", String(share));
      return mark;
    });
    const focused = document.activeElement?.dataset?.mark;
    if (marks.length !== this.lane.children.length || marks.some((mark, i) => this.lane.children[i] !== mark)) put(this.lane, marks);
    if (focused) this.lane.querySelector(`[data-mark="${focused}"]`)?.focus({ preventScroll: true });
  }

  // Decisions.

  #showTabs() {
    put(this.tabs, [[true, "onlyChanges"], [false, "allDecisions"]].map(([only, key]) =>
      h("button", { "aria-pressed": String(only === this.onlyChanges), onclick: () => this.setOnlyChanges(only) }, t(key))));
  }

  setOnlyChanges(only) {
    this.onlyChanges = only;
    this.#showTabs();
    this.#readDecisions(false);
  }

  #query(extra) {
    return { workload: this.name, since: this.range[0], changes: this.onlyChanges ? true : undefined, limit: PAGE, ...extra };
  }

  async #readDecisions(older) {
    try {
      if (older && this.decisions.length > this.listed) this.listed += PAGE;
      else if (older) {
        const answer = await readExplained("headlines", this.#query({ before: this.next }), this.stopped.signal);
        this.decisions = [...this.decisions, ...answer.headlines];
        this.next = answer.next;
        this.listed = this.decisions.length;
      } else {
        // What the charts mark is what the list shows, unless it shows all.
        const [next, all] = await Promise.all([this.#readChanges(), this.onlyChanges ? null : readExplained("headlines", this.#query({}), this.stopped.signal)]);
        this.decisions = all?.headlines ?? this.changes;
        this.next = all ? all.next : next;
        this.listed = PAGE;
      }
      this.#showDecisions();
    } catch (error) {
      // Anything else is asked for again with the next decision.
      if (error.name !== "AbortError") console.info("headroom: the decisions could not be read", error.message);
    }
  }

  /** The changes in range, for the marks in the charts, whatever the list shows. */
  async #readChanges() {
    const answer = await readExplained("headlines", { workload: this.name, since: this.range[0], changes: true, limit: MARKS }, this.stopped.signal);
    this.changes = answer.headlines;
    return answer.next;
  }

  /** Adds what is new at the top; what is read already stays, up to a bound. */
  async #readNew() {
    if (this.listed > LISTED) return this.#readDecisions(false);
    try {
      await this.#readChanges();
      const answer = await readExplained("headlines", this.#query({ limit: 20 }), this.stopped.signal);
      const known = new Set(this.decisions.map((one) => one.id));
      const fresh = answer.headlines.filter((one) => !known.has(one.id));
      if (!fresh.length) return null;
      this.decisions = [...fresh, ...this.decisions];
      this.listed += fresh.length;
      return this.#showDecisions();
    } catch {
      // The next decision asks again.
      return null;
    }
  }

  #showDecisions() {
    const focused = document.activeElement?.closest?.("[data-decision]")?.dataset.decision;
    if (!this.decisions.length) put(this.list, h("li", { class: "empty" }, t(this.onlyChanges ? "noChanges" : "noDecisions")));
    else put(this.list, this.#shown().map((one) => this.#item(one)));
    const isListed = this.#shown().some((one) => one.id === this.open);
    put(this.linked, this.open && this.chosen && !isListed && h("div", {}, h("h3", { class: "eyebrow" }, t("linked")), h("ol", { class: "timeline" }, this.#item(lineOf(this.chosen)))));
    this.more.hidden = !this.next && this.decisions.length <= this.listed;
    if (focused) this.element.querySelector(`[data-decision="${focused}"] > button`)?.focus({ preventScroll: true });
    this.#drawCharts();
  }

  /** The decisions that are listed. */
  #shown() {
    return this.decisions.slice(0, this.listed);
  }

  #item(one) {
    const isOpen = one.id === this.open;
    const chosen = isOpen && this.chosen?.decision.id === one.id ? this.chosen : null;
    const at = Date.parse(one.at);
    const panel = `steps-${one.id}`;
    return h("li", { class: `item ${one.outcome} ${isOpen ? "open" : ""}`, "data-decision": one.id },
      h("button", { class: "item-head", "aria-expanded": String(isOpen), "aria-controls": chosen && panel, onclick: () => this.#toggle(one.id) },
        h("span", { class: "item-line" }, verdict(one), one.outcome !== "act" && h("span", { class: "tag" }, t(`outcome_${one.outcome}`)), h("span", { class: "spring" }), time(at)),
        h("span", { class: "item-why" }, sentence(reasonOf(one.headline), at))),
      chosen && h("div", { class: "item-body", id: panel },
        chain(chosen.decision, chosen.explanation, chosen.action),
        h("p", { class: "item-foot" }, h("code", {}, one.id), h("span", { class: "spring" }), saves("", `decisions/${one.id}`),
          h("button", { class: "quiet", onclick: () => this.#copy(one.id) }, icon("link"), t("copyLink")))));
  }

  async #copy(id) {
    try {
      await navigator.clipboard.writeText(`${location.origin}/#/d/${id}`);
      this.app.toast(t("copied"));
    } catch {
      location.hash = `#/d/${id}`;
    }
  }

  #toggle(id) {
    location.hash = this.open === id ? `#/w/${this.name}` : `#/d/${id}`;
  }

  /** Unfolds the decision called `id`, or none. */
  async show(id) {
    this.open = id;
    this.chosen = null;
    this.#showDecisions();
    if (id) await this.#reveal(id);
  }

  async #reveal(id) {
    try {
      const answer = await readExplained(`decisions/${id}`, {}, this.stopped.signal);
      if (this.open !== id) return;
      this.chosen = answer;
      this.#showDecisions();
      const item = this.element.querySelector(`[data-decision="${id}"]`);
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      item?.scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
    } catch (error) {
      if (error instanceof Refused && error.status === 404) this.app.notFound(t("notFoundDecision", { name: id }));
    }
  }

  /** Goes to the next or previous decision; one that is unfolded takes its unfolding along. */
  step(by) {
    if (!this.decisions.length) return;
    const focused = document.activeElement?.closest?.("[data-decision]")?.dataset.decision;
    const ids = this.#shown().map((one) => one.id);
    const at = ids.indexOf(this.open ?? focused);
    const id = ids[at < 0 ? 0 : Math.min(ids.length - 1, Math.max(0, at + by))];
    if (this.open) location.hash = `#/d/${id}`;
    this.element.querySelector(`[data-decision="${id}"] > button`)?.focus();
  }

  /** Folds what is unfolded; false if nothing was. */
  fold() {
    if (!this.open) return false;
    location.hash = `#/w/${this.name}`;
    return true;
  }
}

/** A decision that was read as a whole, as its line. */
function lineOf({ decision, explanation }) {
  return { ...decision, refused: decision.refusal?.wanted ?? null, headline: explanation.headline, until: explanation.until };
}

/** One mark for changes that lie close together: a link to the first of them. */
function marker(all, isOpen, print) {
  const first = all[0];
  const tone = all.at(-1).to > first.from ? "up" : "down";
  const at = clock(Date.parse(first.at));
  const label = all.length > 1 ? t("markerMore", { n: all.length, time: at }) : t("marker", { time: at, from: first.from, to: first.to, why: reasonOf(first.headline) });
  return h("a", { class: `marker ${tone} ${isOpen ? "open" : ""}`, href: `#/d/${first.id}`, "data-mark": first.id, "data-print": print, "aria-label": label, title: label },
    icon(tone), all.length > 1 && h("span", { class: "many" }, all.length));
}

/** What is decided and why; where that takes many words, the verdict stands out and the reason below it. */
function nowSays(words, at) {
  if (!words) return [h("p", { class: "headline" }, t("status_unknown"))];
  const cut = words.indexOf(": ");
  if (words.length <= LONG_WORDS || cut < 0) return [h("p", { class: "headline" }, headline(words, at))];
  return [h("p", { class: "headline long" }, headline(words.slice(0, cut), at)), h("p", { class: "reason" }, sentence(words.slice(cut + 2), at))];
}

/** Fills a box anew if what it is made from has changed. */
function changed(box, from, make) {
  const print = JSON.stringify(from);
  if (box.print === print) return;
  box.print = print;
  put(box, make());
}

/** How good the forecast of a signal has been, beside the best simple one. */
function foresight({ signal, unit, accuracy }) {
  const name = t("forecastOf", { signal });
  if (!accuracy) return fact(name, "–", t("forecastNone"));
  const { loss, naiveLoss, yardstick, evidence, coverage95, demoted } = accuracy;
  const better = naiveLoss > 0 ? 1 - loss / naiveLoss : 0;
  const value = demoted ? h("span", { class: "count starting" }, t("forecastDemoted")) : t("forecastBetter", { share: amount(better, "ratio") });
  const held = coverage95 === undefined || coverage95 === null ? "–" : amount(coverage95, "ratio");
  return fact(name, value, t("forecastMore", { loss: amount(loss, unit), naive: amount(naiveLoss, unit), yardstick: t(`yardstick_${yardstick}`), n: Math.round(evidence), held }));
}

/** How good the forecast has been that an objective acts on, beside the present load. */
function near({ signal, unit, within, evidence, loss, naiveLoss, proved }) {
  const better = naiveLoss > 0 ? 1 - loss / naiveLoss : loss > 0 ? null : 0;
  // Of nothing there is no share.
  const value = better === null ? t("nearWorse", { share: "–" }) : t(better < 0 ? "nearWorse" : "forecastBetter", { share: amount(Math.abs(better), "ratio") });
  const more = [t("nearMore", { loss: amount(loss, unit), naive: amount(naiveLoss, unit), n: Math.round(evidence) }), proved === "alike" && t("nearAlike")];
  return fact(t("nearOf", { signal, ahead: length(parseSpan(within)) }), proved === "worse" ? h("span", { class: "count starting" }, value) : value, more.filter(Boolean).join("; "));
}

/** The load as last seen, or null. */
function loadOf(view, settings) {
  const main = mainSignal(settings);
  return view.signals.find((one) => one.name === main?.signal)?.reading.fresh?.value ?? null;
}

/** How much of what the ready replicas carry is asked for; false where that is not known. */
function utilisation(view, settings) {
  const main = mainSignal(settings);
  const share = carries(main, view.capacity?.usable);
  const load = loadOf(view, settings);
  const ready = view.status?.ready ?? 0;
  const { unit, scope } = signalShape(settings?.signals[main?.signal]);
  if (share === null || load === null || !ready || scope !== "total") return false;
  return fact(t("utilisation"), amount(load / (ready * share), "ratio"), t("utilisationOf", { load: amount(load, unit), all: amount(ready * share, unit), n: ready }));
}

function facts(view, settings) {
  const seen = view.status;
  const each = price(view.price);
  const hourly = cost(view);
  const broken = faults(view).map((one) => one.name);
  const start = view.startUp;
  const pool = seen?.pool;
  const warm = pool ? pool.warm + pool.warming : 0;
  const isMoving = seen && seen.starting + seen.draining + seen.failed > 0;
  return [
    fact(t("replicas"), h("span", { class: "big" }, h("b", {}, seen ? seen.ready : "–"), h("span", {}, ` / ${seen ? seen.wanted : "–"}`)), isMoving ? counts(seen) : t("rangeOf", view.range), pips(view)),
    utilisation(view, settings),
    fact(t("running"), hourly === null ? "–" : t("perHour", { cost: dollars(hourly) }), each === null ? t("costUnknown") : t("price", { price: t("perHour", { cost: dollars(each) }) })),
    fact(t("startup"), start.p90 ? length(parseSpan(start.p90)) : "–", start.p90 ? startUpMore(start, view.drain) : t("startupNone")),
    view.capacity && fact(t("carries"), amount(view.capacity.usable, view.capacity.unit), capacityMore(view.capacity)),
    pool && fact(t("warmPool"), h("span", { class: "big" }, h("b", {}, pool.warm), h("span", {}, ` / ${pool.wanted}`)), [pool.warming > 0 && t("warming", { n: pool.warming }), each !== null && t("warmCost", { cost: t("perHour", { cost: dollars(each * warm) }) })].filter(Boolean).join(" · ")),
    view.near && near(view.near),
    view.forecast && foresight(view.forecast),
    fact(t("signals"), h("span", { class: broken.length ? "count failed" : "" }, `${view.signals.length - broken.length} / ${view.signals.length}`), broken.length ? t("sourceSays", { names: broken.join(", ") }) : t("sourcesFine")),
  ];
}

/** How the starts spread, and how long drains take. */
function startUpMore(start, drain) {
  const hint = t("startupHint", { n: start.seen });
  const spread = start.longest && t("startupSpread", { median: length(parseSpan(start.p50)), longest: length(parseSpan(start.longest)) });
  return [hint, spread, drain && t("drains", { time: length(parseSpan(drain.p90)), n: drain.seen })].filter(Boolean).join("; ");
}

/** What a figure of capacity rests on. */
function capacityMore(capacity) {
  const say = (level) => amount(level, capacity.unit);
  const range = capacity.high ? t("carriesBetween", { low: say(capacity.low), high: say(capacity.high) }) : t("carriesFrom", { low: say(capacity.low) });
  const basis = t(`basis_${capacity.basis}`);
  return capacity.evidence > 0 ? `${basis}; ${range}; ${t("carriesEvidence", { n: capacity.evidence })}` : basis;
}

function fact(name, value, more, extra) {
  return h("div", { class: "fact" }, h("dt", {}, name), h("dd", {}, h("span", { class: "fact-value" }, value), extra, h("span", { class: "fact-more" }, more)));
}

function counts(seen) {
  return ["starting", "draining", "failed"].filter((key) => seen[key] > 0).map((key) => h("span", { class: `count ${key}` }, `${seen[key]} ${t(key)} `));
}
