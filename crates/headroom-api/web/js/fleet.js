// What the page derives from a workload's policy and state; each rule in one place.

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
  const first = Object.keys(workload?.signals ?? {})[0];
  return first ? { signal: first, perReplica: null } : null;
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

/** The state of a workload in one word. */
export function status(view) {
  const seen = view.status;
  if (!seen) return "unknown";
  const fault = (view.signals ?? []).some(({ reading }) => reading.stale || (reading.missing !== undefined && reading.missing !== "idle" && reading.missing !== "noReplica"));
  if (seen.failed > 0 || view.latest?.outcome === "rejected" || fault || seen.troubles?.length) return "trouble";
  if (view.freeze) return "frozen";
  if (seen.starting > 0 || seen.wanted > seen.ready) return "growing";
  if (seen.draining > 0) return "shrinking";
  if (view.latest?.outcome === "held") return "held";
  if (seen.wanted === 0) return "zero";
  return "steady";
}

export const SYMBOLS = { steady: "check", growing: "up", shrinking: "down", held: "pause", frozen: "freeze", zero: "zero", trouble: "warn", unknown: "zero" };
