// What the page derives from a workload's policy and state; each rule in one place.
import { parseQuantity, price } from "./format.js";

/** The signal a workload is mainly sized by, and how much of it one replica carries where the policy says so. */
export function mainSignal(workload) {
  for (const strategy of workload?.strategies ?? []) {
    const [kind, settings] = Object.entries(strategy)[0];
    if (kind === "targetTracking") return { signal: settings.signal, perReplica: settings.perReplica ?? null };
    if (kind === "hpa") {
      const metric = settings.metrics?.[0];
      if (metric) return { signal: metric.signal, perReplica: metric.target?.averageValue ?? null };
    }
    if (kind === "anyAll" && settings.upIfAny?.[0]) return { signal: settings.upIfAny[0].signal, perReplica: null };
    if (settings.signal) return { signal: settings.signal, perReplica: null };
  }
  return load(workload);
}

/** The values that the policy wants signals at or below: `{ signal: { value, kind } }`, kind `objective` or `target`. */
export function limits(workload) {
  const found = {};
  for (const strategy of workload?.strategies ?? []) {
    const [kind, settings] = Object.entries(strategy)[0];
    const those = kind === "objective" ? [settings.latency, settings.utilisation].filter(Boolean).map((one) => [one.signal, one.below, "objective"])
      : kind === "targetTracking" && settings.target ? [[settings.signal, settings.target, "target"]] : [];
    for (const [signal, limit, of] of those) {
      const value = parseQuantity(limit);
      if (value !== null) found[signal] ??= { value, kind: of };
    }
  }
  return found;
}

/** How much of its main signal one replica carries, by the policy or as it was `learned`; null where nobody knows. */
export function carries(main, learned) {
  if (!main) return null;
  return main.perReplica === null ? (learned ?? null) : parseQuantity(main.perReplica);
}

/** The load of a workload whose strategies name none: a rate before other totals, those before the rest. */
function load(workload) {
  const signals = Object.entries(workload?.signals ?? {}).map(([name, signal]) => ({ name, ...signalShape(signal) }));
  const totals = signals.filter((one) => one.scope === "total");
  const found = totals.find((one) => one.unit === "perSecond") ?? totals[0] ?? signals[0];
  return found ? { signal: found.name, perReplica: null } : null;
}

/** What a signal counts and what it is of: the same rules as the controller's. */
export function signalShape(signal) {
  if (signal?.balancer) {
    const kind = signal.balancer;
    if (kind === "requestsPerSecond") return { unit: "perSecond", scope: "total" };
    if (kind === "errorRatio") return { unit: "ratio", scope: "quality" };
    if (kind.latency) return { unit: "seconds", scope: "quality" };
    return { unit: "count", scope: "total" };
  }
  if (signal?.process) return { unit: signal.process === "cpu" ? "ratio" : "bytes", scope: "perReplica" };
  return { unit: signal?.push?.unit ?? "count", scope: signal?.push?.scope ?? "total" };
}

/** The signals of a workload's view that can't be read, or not any more. */
export function faults(view) {
  return (view.signals ?? []).filter(({ reading }) => reading.stale || (reading.missing !== undefined && reading.missing !== "idle" && reading.missing !== "noReplica"));
}

/** What keeps a workload from what it should be, by its line: the kinds that `BLOCKS` lists, in its order. */
export function blocks(line) {
  const found = [];
  if (line.pending) found.push("approval");
  if (line.trouble || line.replicas?.failed > 0) found.push("trouble");
  if (line.faults.length) found.push("source");
  if (line.freeze) found.push("frozen");
  if (line.atMaximum) found.push("maximum");
  return found;
}

export const BLOCKS = ["approval", "trouble", "source", "frozen", "maximum"];

/** What a workload costs an hour, the warm pool included; null where there is no price or nothing was seen yet. */
export function cost(of) {
  return price(of.cost?.perHour ?? of.cost);
}

/** The states, the most urgent first. */
export const STATES = ["trouble", "unknown", "held", "frozen", "growing", "shrinking", "steady", "zero"];

/** The state of a workload in one word, by its line. */
export function status(line) {
  const seen = line.replicas;
  if (!seen) return "unknown";
  if (seen.failed > 0 || line.outcome === "rejected" || line.faults.length || line.trouble) return "trouble";
  if (line.freeze) return "frozen";
  if (seen.starting > 0 || seen.wanted > seen.ready) return "growing";
  if (seen.draining > 0) return "shrinking";
  if (line.outcome === "held") return "held";
  if (seen.wanted === 0) return "zero";
  return "steady";
}

export const SYMBOLS = { steady: "check", growing: "up", shrinking: "down", held: "pause", frozen: "freeze", zero: "zero", trouble: "warn", unknown: "zero" };
