// The smallest helpers that keep markup readable without a framework.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, v] of Object.entries(value)) node.style.setProperty(key, v);
    else node.setAttribute(name, value === true ? "" : value);
  }
  append(node, children);
  return node;
}

function append(node, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(node, child);
    else if (child !== null && child !== undefined && child !== false) node.append(child);
  }
}

/** An HTML element. */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function s(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Replaces what is in a node. */
export function put(node, ...children) {
  node.replaceChildren();
  append(node, children);
  return node;
}

/** Sets a text only if it changed, so that selections and screen readers are left in peace. */
export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

const ICONS = {
  up: "M8 13V3.5M3.5 7.5 8 3l4.5 4.5",
  down: "M8 3v9.5M3.5 8.5 8 13l4.5-4.5",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  check: "M3 8.5 6.5 12 13 4.5",
  warn: "M8 5.5v3.5M8 11.6v.1M8 1.8 14.6 13.6H1.4Z",
  freeze: "M8 1.5v13M2.4 4.75l11.2 6.5M13.6 4.75 2.4 11.25",
  moon: "M13 9.5A5.5 5.5 0 0 1 6.5 3a5.5 5.5 0 1 0 6.5 6.5Z",
  sun: "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM8 1v1.5M8 13.5V15M15 8h-1.5M2.5 8H1M12.9 3.1l-1 1M4.1 11.9l-1 1M12.9 12.9l-1-1M4.1 4.1l-1-1",
  search: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10ZM14 14l-3.4-3.4",
  chevron: "M6 3.5 10.5 8 6 12.5",
  back: "M10 3.5 5.5 8 10 12.5",
  close: "M4 4l8 8M12 4l-8 8",
  link: "M6.5 9.5a2.8 2.8 0 0 0 4 0l2.4-2.4a2.8 2.8 0 0 0-4-4L8 4M9.5 6.5a2.8 2.8 0 0 0-4 0L3.1 8.9a2.8 2.8 0 0 0 4 4L8 12",
  signal: "M1.5 9h2.7l2-5 3 8.5 2-5.5 1 2h2.3",
  strategy: "M3 13.5V9M8 13.5v-11M13 13.5V6",
  guard: "M8 1.8l5 1.8v4.2c0 3.2-2.2 5.4-5 6.4-2.8-1-5-3.2-5-6.4V3.6Z",
  zero: "M8 13A5 5 0 1 0 8 3a5 5 0 0 0 0 10Z",
};

/** A line icon of 16 by 16; decoration, so hidden from screen readers. */
export function icon(name, extra = "") {
  return s("svg", { class: `icon ${extra}`, viewBox: "0 0 16 16", "aria-hidden": "true" }, s("path", { d: ICONS[name] }));
}
