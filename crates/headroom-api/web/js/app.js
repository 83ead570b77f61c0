// The page as a whole: what is known, which view shows it, and the keys.
import { keepToken, listen, read, readExplained } from "./api.js";
import { countDown } from "./decision.js";
import { helpDialog } from "./dialogs.js";
import { h, icon, put, text } from "./dom.js";
import { clock } from "./format.js";
import { language, t } from "./i18n.js";
import { Overview } from "./overview.js";
import { RANGES, WorkloadPage } from "./workload.js";

/** How long a change may gather others before the state is read again. */
const GATHER = 250;
/** How long a toast stays. */
const TOAST = 5_000;

class App {
  overview = null;
  policy = null;
  view = null;
  isLive = null;
  main = document.getElementById("main");
  banner = document.getElementById("banner");

  async start() {
    this.#takeToken();
    this.#showTop();
    window.addEventListener("hashchange", () => { this.#takeToken(); this.#route(); });
    document.addEventListener("keydown", (event) => this.#key(event));
    setInterval(() => document.querySelectorAll("[data-until]").forEach(countDown), 1_000);
    this.#listen();
    await this.refresh(true);
  }

  /** The link that `headroom run` prints carries the token; it must not stay in the address bar. */
  #takeToken() {
    const match = /^#token=([0-9a-f]+)$/.exec(location.hash);
    if (!match) return;
    keepToken(match[1]);
    history.replaceState(null, "", "#/");
  }

  #listen() {
    this.unlisten?.();
    this.unlisten = listen((name, data) => this.#heard(name, data), (isLive) => this.#connected(isLive));
  }

  #heard(name, data) {
    if (name === "overview") this.#figures(data);
    if (name === "fleet" || name === "missed") this.refresh(true);
    else if (name !== "overview") {
      if (this.soon) return;
      // What takes long is asked for less often.
      this.soon = setTimeout(() => { this.soon = null; this.refresh(); }, Math.max(GATHER, 4 * (this.took ?? 0)));
    }
    this.view?.heard?.(name, data);
  }

  /** The figures of every second, laid over what was read. */
  #figures(summary) {
    this.at = Date.parse(summary.at);
    if (!this.overview) return;
    this.overview.breaker = summary.breaker;
    const views = new Map(this.overview.workloads.map((view) => [view.name, view]));
    for (const one of summary.workloads) {
      const view = views.get(one.name);
      if (!view) continue;
      if (one.replicas) view.status = { ...view.status, ...one.replicas };
      for (const seen of view.signals) {
        const value = one.signals[seen.name];
        if (value !== null && value !== undefined) seen.reading = { fresh: { at: summary.at, value } };
      }
      if (one.decision) {
        view.explanation = { ...view.explanation, headline: one.decision.headline, until: one.decision.until };
        view.latest = { ...view.latest, ...one.decision, headline: undefined };
      }
      if (!one.frozen) view.freeze = null;
      view.pending = one.pending;
    }
    this.view?.update?.();
  }

  /** Reads the state again; with `whole` the policy too. */
  async refresh(whole = false) {
    const begun = performance.now();
    try {
      const [overview, policy] = await Promise.all([readExplained("overview"), whole || !this.policy ? read("policy") : this.policy]);
      this.overview = overview;
      this.policy = policy;
      this.at = Date.parse(overview.at);
      this.#showTop();
      if (!this.view || this.rebuild) this.#route();
      else this.view.update?.();
      this.took = performance.now() - begun;
    } catch (error) {
      if (!this.overview) this.#showUnreachable(error);
    }
  }

  #connected(isLive) {
    const was = this.isLive;
    this.isLive = isLive;
    this.#showTop();
    document.body.classList.toggle("stale", !isLive && this.overview !== null);
    this.banner.hidden = isLive || !this.overview;
    if (!isLive && this.at) text(this.banner, t("lost", { time: clock(this.at) }));
    if (isLive && was === false) this.refresh(true);
  }

  #showUnreachable() {
    if (!this.view) put(this.main, h("div", { class: "page message" }, h("h1", {}, t("unreachable")), h("p", { class: "muted" }, t("unreachableText"))));
  }

  #showTop() {
    document.title = this.overview ? `${this.overview.fleet} · headroom` : "headroom";
    text(document.getElementById("skip"), t("skip"));
    const live = this.isLive ? "live" : this.isLive === null ? "connecting" : "reconnecting";
    const print = JSON.stringify([language(), this.overview?.fleet, this.overview?.advise, live]);
    if (print === this.topPrint) return;
    this.topPrint = print;
    put(document.getElementById("top"),
      h("a", { class: "brand", href: "#/", "aria-label": `headroom, ${t("overview")}` }, h("span", { class: "logo", "aria-hidden": "true" }), h("b", {}, "headroom")),
      this.overview && h("span", { class: "fleet" }, this.overview.fleet),
      this.overview?.advise && h("span", { class: "tag warn", title: t("adviseHint") }, t("advise")),
      h("span", { class: "spring" }),
      h("span", { class: `live ${live}`, id: "live" }, h("i", {}), h("span", {}, t(live))),
      h("button", { class: "bare text", id: "language", title: t("language"), lang: language() === "ko" ? "en" : "ko", onclick: () => this.switchLanguage() }, language() === "ko" ? "EN" : "한국어"),
      h("button", { class: "bare", id: "theme", title: t("theme"), "aria-label": t("theme"), onclick: () => this.switchTheme() }, icon("moon", "for-light"), icon("sun", "for-dark")),
      h("button", { class: "bare", id: "help", title: t("help"), "aria-label": t("help"), onclick: helpDialog }, "?"));
  }

  // Where we are.

  #route() {
    if (!this.overview) return;
    const [, kind, name] = /^#\/(?:([wd])\/([A-Za-z0-9-]+))?$/.exec(location.hash || "#/") ?? [null, "?"];
    const workload = kind === "d" ? name.replace(/-\d+$/, "") : kind === "w" ? name : null;
    if (workload && this.view instanceof WorkloadPage && this.view.name === workload && !this.rebuild) {
      this.view.show(kind === "d" ? name : null);
      return;
    }
    if (kind === undefined && this.view instanceof Overview && !this.rebuild) {
      this.view.update();
      return;
    }
    this.rebuild = false;
    this.view?.destroy?.();
    if (kind === "?") return void this.notFound(t("notFoundPage"));
    if (workload && !this.overview.workloads.some((one) => one.name === workload)) return void this.notFound(t("notFoundWorkload", { name: workload }));
    this.view = workload ? new WorkloadPage(this, workload, kind === "d" ? name : null) : new Overview(this);
    put(this.main, this.view.element);
    performance.mark("headroom.shown");
    this.main.setAttribute("aria-busy", "false");
    window.scrollTo(0, 0);
  }

  notFound(why) {
    this.view?.destroy?.();
    this.view = {};
    put(this.main, h("div", { class: "page message" }, h("h1", {}, why), h("p", {}, h("a", { class: "button", href: "#/" }, t("backToOverview")))));
  }

  // Light, dark, English, Korean.

  switchTheme() {
    const root = document.documentElement;
    const isDark = (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
    root.dataset.theme = isDark ? "light" : "dark";
    localStorage.setItem("headroom.theme", root.dataset.theme);
  }

  switchLanguage() {
    document.documentElement.lang = language() === "ko" ? "en" : "ko";
    localStorage.setItem("headroom.lang", language());
    this.rebuild = true;
    this.#showTop();
    this.#listen();
    this.refresh(true);
  }

  toast(words, tone = "") {
    const node = h("div", { class: `toast ${tone}` }, words);
    document.getElementById("toasts").append(node);
    setTimeout(() => node.remove(), TOAST);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const isTyping = event.target.matches?.("input, textarea, select");
    if (isTyping) {
      if (event.key === "Escape") event.target.blur();
      if (event.key !== "ArrowDown" || event.target.id !== "filter") return;
    }
    // Arrows scroll the page as ever, except in a list.
    if (event.key.startsWith("Arrow") && !event.target.closest?.(".rows, .timeline, .filter")) return;
    const number = Number(event.key);
    const act = {
      j: () => this.view?.step?.(1),
      ArrowDown: () => this.view?.step?.(1),
      k: () => this.view?.step?.(-1),
      ArrowUp: () => this.view?.step?.(-1),
      Escape: () => this.view?.fold?.() || (location.hash = "#/"),
      o: () => (location.hash = "#/"),
      a: () => this.view?.setOnlyChanges?.(!this.view.onlyChanges),
      t: () => this.switchTheme(),
      l: () => this.switchLanguage(),
      "?": () => helpDialog(),
      "/": () => {
        if (this.view?.focusFilter) this.view.focusFilter();
        else {
          location.hash = "#/";
          setTimeout(() => this.view?.focusFilter?.(), 50);
        }
      },
    }[event.key] ?? (number >= 1 && number <= RANGES.length ? () => this.view?.setRange?.(RANGES[number - 1][0]) : null);
    if (!act) return;
    event.preventDefault();
    act();
  }
}

new App().start();
