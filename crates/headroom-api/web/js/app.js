// The page as a whole: what is known, which view shows it, and the keys.
import { keepToken, listen, read, readExplained } from "./api.js";
import { countDown } from "./decision.js";
import { helpDialog } from "./dialogs.js";
import { h, icon, put, text } from "./dom.js";
import { clock } from "./format.js";
import { language, t } from "./i18n.js";
import { Overview } from "./overview.js";
import { RANGES, WorkloadPage } from "./workload.js";

/** How long a toast stays. */
const TOAST = 5_000;

class App {
  /** The fleet in lines; the stream keeps it up to date. */
  overview = null;
  /** What the policy says of the workloads that were looked at, by name. */
  settings = new Map();
  view = null;
  isLive = null;
  main = document.getElementById("main");
  banner = document.getElementById("banner");

  async start() {
    this.#takeToken();
    this.#showTop();
    window.addEventListener("hashchange", () => { this.#takeToken(); this.#route(); });
    document.addEventListener("keydown", (event) => this.#key(event));
    // A browser keeps six connections to a server, over all tabs: one that nobody looks at must not hold one.
    document.addEventListener("visibilitychange", () => (document.visibilityState === "visible" ? this.#listen() : this.#leave()));
    window.addEventListener("pagehide", () => this.#leave());
    window.addEventListener("pageshow", (event) => event.persisted && this.#listen());
    setInterval(() => document.querySelectorAll("[data-until]").forEach(countDown), 1_000);
    this.#listen();
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

  /** Stops to listen until somebody looks again. */
  #leave() {
    this.unlisten?.();
    this.away = true;
  }

  #heard(name, data) {
    if (name === "overview") this.#news(data);
    if (name === "fleet" || name === "missed") this.refresh(true);
    this.view?.heard?.(name, data);
  }

  /** Lays what is new over what was read. */
  #news({ at, workloads, breaker, ...glance }) {
    this.at = Date.parse(at);
    if (!this.overview) return;
    const news = new Map(workloads.map((line) => [line.name, line]));
    const lines = this.overview.workloads.map((line) => news.get(line.name) ?? line);
    Object.assign(this.overview, glance, { breaker, workloads: lines });
    this.view?.update?.();
  }

  /** Reads the fleet again; with `whole` what is kept of the policy is forgotten. */
  async refresh(whole = false) {
    try {
      const overview = await readExplained("fleet");
      if (whole) this.settings.clear();
      this.overview = overview;
      this.at = Date.parse(overview.at);
      this.#showTop();
      if (!this.view || this.rebuild) this.#route();
      else this.view.update?.();
    } catch (error) {
      if (!this.overview) this.#showUnreachable(error);
    }
  }

  /** Reads what the policy says of these workloads, as far as it is not known. */
  async readSettings(names, signal) {
    const unknown = names.filter((name) => !this.settings.has(name));
    if (!unknown.length) return;
    const { spec } = await read("policy", { workload: unknown }, signal);
    for (const [name, settings] of Object.entries(spec.workloads)) this.settings.set(name, settings);
  }

  #connected(isLive) {
    const was = this.isLive;
    this.isLive = isLive;
    if (!isLive && !this.overview) this.refresh();
    this.#showTop();
    document.body.classList.toggle("stale", !isLive && this.overview !== null);
    this.banner.hidden = isLive || !this.overview;
    if (!isLive && this.at) text(this.banner, t("lost", { time: clock(this.at) }));
    if (!isLive) return;
    // What is new is told from here on; what was before is read now.
    const missed = was === false || this.away === true;
    this.away = false;
    this.refresh(missed);
    if (missed) this.view?.heard?.("missed");
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
