// What a person may say: freeze, thaw. And the token that saying it needs.
import { change, keepToken, Refused, token } from "./api.js";
import { h, put } from "./dom.js";
import { t } from "./i18n.js";

function dialog(title, ...body) {
  const box = h("dialog", { "aria-labelledby": "dialog-title" }, h("h2", { id: "dialog-title" }, title), ...body);
  box.addEventListener("close", () => box.remove());
  box.addEventListener("click", (event) => event.target === box && box.close());
  document.body.append(box);
  box.showModal();
  return box;
}

function code(words) {
  return words.split("`").map((part, i) => (i % 2 ? h("code", {}, part) : part));
}

/** Asks for the token; true once there is one. */
function askToken(wrong) {
  return new Promise((done) => {
    let given = false;
    const input = h("input", { type: "password", id: "token", autocomplete: "off", spellcheck: "false", "aria-describedby": "token-note" });
    const note = h("p", { class: "error", id: "token-note", role: "alert" }, wrong ? t("tokenWrong") : "");
    const form = h("form", {
      onsubmit: (event) => {
        event.preventDefault();
        const value = input.value.trim();
        if (!value) return put(note, t("tokenEmpty"));
        keepToken(value);
        given = true;
        return box.close();
      },
    },
    h("p", { class: "muted" }, code(t("tokenText"))),
    h("label", { for: "token" }, t("token")), input, note,
    h("div", { class: "buttons" }, h("button", { type: "button", class: "button", onclick: () => box.close() }, t("cancel")), h("button", { type: "submit", class: "button primary", id: "token-use" }, t("tokenUse"))));
    const box = dialog(t("tokenTitle"), form);
    box.addEventListener("close", () => done(given));
    input.focus();
  });
}

/** Changes something; asks for the token where it is needed. True if it was done. */
async function say(app, path, body, done) {
  for (let wrong = false; ; wrong = true) {
    if (!token() && !(await askToken(wrong))) return false;
    try {
      await change(path, body);
      app.toast(done);
      app.refresh();
      return true;
    } catch (error) {
      if (error instanceof Refused && error.status === 401) keepToken(null);
      else {
        app.toast(t("failedTo", { why: error.message }), "bad");
        return false;
      }
    }
  }
}

export function thaw(app, name) {
  return say(app, `workloads/${name}/thaw`, undefined, t("thawedDone", { name }));
}

export function freezeDialog(app, name) {
  const lengths = [["15m", "for15m"], ["1h", "for1h"], ["4h", "for4h"], [null, "forEver"]];
  const why = h("input", { type: "text", id: "why", required: true, maxlength: "200", autocomplete: "off", placeholder: t("freezeWhyHint") });
  const form = h("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      const chosen = new FormData(form).get("for") || null;
      const body = { for: chosen, why: why.value.trim() };
      if (!body.why) return why.focus();
      box.close();
      return say(app, `workloads/${name}/freeze?by=page`, body, t("frozenDone", { name }));
    },
  },
  h("p", { class: "muted" }, t("freezeText")),
  h("fieldset", { class: "choices" }, h("legend", {}, t("freezeFor")),
    lengths.map(([value, key]) => h("label", {}, h("input", { type: "radio", name: "for", value: value ?? "", checked: value === "1h" }), h("span", {}, t(key))))),
  h("label", { for: "why" }, t("freezeWhy")), why,
  h("div", { class: "buttons" }, h("button", { type: "button", class: "button", onclick: () => box.close() }, t("cancel")), h("button", { type: "submit", class: "button primary", id: "freeze-do" }, t("freeze"))));
  const box = dialog(t("freezeTitle", { name }), form);
  why.focus();
}

/** Asks why, and says it to `path`. */
function whyDialog(app, { title, words, submit, path, done }) {
  const why = h("input", { type: "text", id: "why", required: true, maxlength: "200", autocomplete: "off" });
  const form = h("form", {
    onsubmit: (event) => {
      event.preventDefault();
      const body = { why: why.value.trim() };
      if (!body.why) return why.focus();
      box.close();
      return say(app, `${path}?by=page`, body, done);
    },
  },
  h("p", { class: "muted" }, words),
  h("label", { for: "why" }, t("freezeWhy")), why,
  h("div", { class: "buttons" }, h("button", { type: "button", class: "button", onclick: () => box.close() }, t("cancel")), h("button", { type: "submit", class: "button primary", id: "why-do" }, submit)));
  const box = dialog(title, form);
  why.focus();
}

/** Approves or rejects the change of `name` that waits. */
export function answerDialog(app, name, pending, isApproved) {
  const parts = { name, from: pending.from, to: pending.to };
  whyDialog(app, {
    title: t(isApproved ? "approveTitle" : "rejectTitle", parts),
    words: t(isApproved ? "approveText" : "rejectText", parts),
    submit: t(isApproved ? "approve" : "reject"),
    path: `decisions/${pending.decision}/${isApproved ? "approve" : "reject"}`,
    done: t(isApproved ? "approvedDone" : "rejectedDone", parts),
  });
}

export function closeBreakerDialog(app) {
  whyDialog(app, { title: t("breakerTitle"), words: t("breakerText"), submit: t("breakerClose"), path: "breaker/close", done: t("breakerDone") });
}

export function helpDialog() {
  const keys = [["j / ↓", "key_jk", "k / ↑"], ["Enter", "key_enter"], ["Esc", "key_esc"], ["/", "key_slash"], ["o", "key_o"], ["a", "key_a"], ["1 … 7", "key_range"], ["t", "key_theme"], ["l", "key_lang"], ["?", "key_help"]];
  const box = dialog(t("help"), h("dl", { class: "shortcuts" }, keys.map(([key, what, other]) => h("div", {}, h("dt", {}, h("kbd", {}, key), other && h("kbd", {}, other)), h("dd", {}, t(what))))),
    h("div", { class: "buttons" }, h("button", { class: "button", onclick: () => box.close() }, t("close"))));
}
