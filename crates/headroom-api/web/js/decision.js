// One decision, unfolded: what was seen → what each strategy said → how the number moved → what came of it.
import { h, icon } from "./dom.js";
import { amount, clock, length, parseSpan, sentence } from "./format.js";
import { t } from "./i18n.js";

/** Whether a reading is a fault, nothing to measure, or fine. */
function readingOf({ unit, reading }) {
  if (reading.fresh) return { state: "fresh", said: amount(reading.fresh.value, unit) };
  if (reading.stale) {
    const { last, age, ahead } = reading.stale;
    return { state: "stale", said: `${amount(last.value, unit)} · ${t(ahead ? "ahead" : "stale")} ${length(parseSpan(age))}` };
  }
  const idle = reading.missing === "idle" || reading.missing === "noReplica";
  return { state: idle ? "idle" : "missing", said: idle ? t("idle") : t("missing") };
}

export function signalChip(seen) {
  const { state, said } = readingOf(seen);
  const at = (seen.reading.fresh ?? seen.reading.stale?.last)?.at;
  return h("span", { class: `chip signal ${state}`, title: at && t("measuredAt", { time: clock(Date.parse(at)) }) }, h("span", { class: "chip-name" }, seen.name), h("b", {}, said));
}

/** `8 → 14`, with its direction as a tone. */
export function jump(from, to, extra = "") {
  const tone = to > from ? "up" : to < from ? "down" : "same";
  return h("span", { class: `jump ${tone} ${extra}` }, h("span", { class: "from" }, from), h("span", { class: "arrow", "aria-hidden": "true" }, "→"), h("b", {}, to));
}

/** The number a decision comes to, by its line. */
export function verdict({ outcome, from, to, refused }) {
  if (outcome === "act") return jump(from, to);
  if (outcome === "held" && refused !== null && refused !== from) return jump(from, refused, "refused");
  return h("span", { class: "jump same" }, h("b", {}, to));
}

function link(state, symbol, title, ...body) {
  return h("li", { class: `link ${state}` }, h("span", { class: "node" }, icon(symbol)), h("div", { class: "link-body" }, h("h3", {}, title), ...body));
}

function outcome(decision, action) {
  const lines = [];
  if (action?.end) {
    const kind = action.end.outcome;
    const took = Date.parse(action.end.at) - Date.parse(action.action.at);
    if (kind === "done") lines.push(took < 50 ? t("action_atOnce") : t("action_done", { time: length(took) }));
    else if (kind === "advised") lines.push(t("action_advised"));
    else lines.push(t("action_failed", { error: kind.failed }));
  } else if (action) lines.push(t("action_open"));
  if (decision.outcome === "act" && decision.to > decision.from && decision.startUp) {
    lines.push(t("readyAbout", { time: clock(Date.parse(decision.at) + parseSpan(decision.startUp)) }));
  }
  return lines;
}

/** The chain of a decision. `action` may come later: hand in what is known. */
export function chain(decision, explanation, action) {
  const at = Date.parse(decision.at);
  const advice = explanation.chain.filter((one) => ["wants", "floor", "ceiling", "content", "abstains"].includes(one.kind));
  const moves = explanation.chain.filter((one) => one.kind === "moved" || one.kind === "refused");
  const best = Math.max(...advice.filter((one) => one.kind === "wants").map((one) => one.to));
  const said = advice.map((one) =>
    h("div", { class: `said ${one.kind} ${one.kind === "wants" && one.to === best ? "won" : ""}` },
      h("div", { class: "said-head" }, h("span", { class: "who" }, one.who), h("span", { class: "says" }, t(`says_${one.kind}`, { n: one.to }))),
      h("p", {}, sentence(one.text, at))));
  const links = [
    link("seen", "signal", t("step_signals"),
      h("div", { class: "chips" }, decision.signals.map(signalChip), h("span", { class: "chip" }, t("ofReplicas", { ready: decision.ready, starting: decision.starting })))),
    link("strategies", "strategy", t("step_strategies"), said),
  ];
  for (const one of moves) {
    const refused = one.kind === "refused";
    const symbol = refused ? "pause" : one.code === "highest-want" ? (one.to > one.from ? "up" : "down") : "guard";
    links.push(link(refused ? "refused" : "moved", symbol, one.who,
      h("div", { class: "move" }, one.to !== one.from && jump(one.from, one.to, refused ? "refused" : ""), refused && h("span", { class: "tag bad" }, t("notDone"))),
      h("p", {}, sentence(one.text, at))));
  }
  const done = outcome(decision, action);
  const failed = action?.end?.outcome?.failed !== undefined;
  links.push(link(`outcome ${failed ? "failed" : decision.outcome}`, failed ? "warn" : decision.outcome === "act" ? "check" : "pause", t("step_outcome"),
    h("p", { class: "result" }, t(`out_${decision.outcome}`, { n: decision.to })),
    done.map((line) => h("p", {}, line)),
    explanation.until && h("p", {}, until(explanation.until))));
  return h("ol", { class: "chain" }, links);
}

/** "until 14:05, 3 min left", counted down by the page's clock; only the rest where the time was said already. */
export function until(at, restOnly = false) {
  const node = h("span", { class: "until", "data-until": at, "data-rest": restOnly });
  countDown(node);
  return node;
}

export function countDown(node) {
  const at = Date.parse(node.dataset.until);
  const rest = at - Date.now();
  const key = rest <= 0 ? "untilOver" : node.dataset.rest === undefined ? "untilIn" : "untilRest";
  const words = t(key, { time: clock(at), rest: length(rest) });
  if (node.textContent !== words) node.textContent = words;
}


