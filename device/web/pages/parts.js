// What every page is made of: four different sights, figures that explain themselves, times, marks of how bad something is.
import { Dialog, html, store, useStore, useTick } from "./dom.js";
import { ago, clock, inOrAgo, number, unitText, wholeTime } from "./format.js";
import { has, language, t } from "./i18n.js";
import { ask, session } from "./api.js";

const PATHS = {
  now: "M12 12m-2 0a2 2 0 1 0 4 0a2 2 0 1 0-4 0M12 12m-6 0a6 6 0 1 0 12 0a6 6 0 1 0-12 0M12 12m-10 0a10 10 0 1 0 20 0a10 10 0 1 0-20 0",
  history: "M3 20V4M3 20h18M6 15l4-5 4 3 6-8",
  particles: "M3 3h8v8H3zM13 3h8v8h-8zM3 13h8v8H3zM13 13h8v8h-8z",
  health: "M2 12h5l2-6 4 13 3-9 2 2h4",
  instrument: "M12 3v4M5 7h14v5H5zM8 12v4M16 12v4M3 21h18M12 12v4",
  data: "M12 3v11M7 10l5 5 5-5M4 20h16",
  log: "M5 4h14M5 9h14M5 14h9M5 19h11",
  manual: "M4 4h6a2 2 0 0 1 2 2v14a2 2 0 0 0-2-2H4zM20 4h-6a2 2 0 0 0-2 2v14a2 2 0 0 1 2-2h6z",
  compare: "M4 20V4M4 20h16M7 15l4-5 3 3 5-7M7 18l4-2 3 1 5-3",
  boxes: "M3 7l9-4 9 4v10l-9 4-9-4zM3 7l9 4 9-4M12 11v10",
  alarms: "M6 17V11a6 6 0 0 1 12 0v6l2 2H4zM10 21h4",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  ok: "M4 12.5l5 5L20 6.5", warning: "M12 3L22 20H2zM12 9.5v5M12 17.3v.2", failed: "M6 6l12 12M18 6L6 18", unknown: "M5 12h14",
  empty: "M4 7l8-4 8 4v10l-8 4-8-4zM4 7l8 4 8-4M12 11v10", old: "M12 2a10 10 0 1 0 0 20a10 10 0 0 0 0-20M12 7v5.5l3.5 2",
  sun: "M12 8a4 4 0 1 0 0 8a4 4 0 0 0 0-8M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6L19 19M5 19l1.4-1.4M17.6 6.4L19 5",
};

export const Icon = ({ name }) =>
  html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d=${PATHS[name] ?? PATHS.unknown} /></svg>`;

// -- four sights -----------------------------------------------------------------------------------------------------------

export const Loading = ({ what }) => html`<div class="sight loading" role="status" aria-busy="true" data-sight="loading"><span class="spinner" aria-hidden="true"></span><p>${what ?? t("sight.loading")}</p></div>`;

export const Empty = ({ title, children }) => html`<div class="sight empty" data-sight="empty"><${Icon} name="empty" /><div><p><strong>${title ?? t("sight.empty")}</strong></p>${children}</div></div>`;

/** The server's own words: message, expected, got, remedy. */
export function Said({ error }) {
  const said = error.said ?? {};
  return html`<p><span lang=${said.message ? "en" : undefined}>${error.message}</span>
    ${said.where && html` <span class="muted" lang="en">(${String(said.where)})</span>`}
    ${said.expected !== undefined && said.expected !== null && html` ${t("error.expected", { expected: String(said.expected), got: String(said.got ?? "–") })}`}</p>
    <p class="remedy">${said.remedy ? html`<span lang="en">${said.remedy}</span>` : t(`remedy.${has(`remedy.${error.kind}`) ? error.kind : "refused"}`)}</p>`;
}

export const Failed = ({ error, again, title }) => html`<div class="sight failed" role="alert" data-sight="failed"><${Icon} name="failed" /><div>
  <p><strong>${title ?? t("sight.failed")}</strong></p><${Said} error=${error} />
  ${again && html`<button type="button" class="small" onClick=${again}>${t("action.again")}</button>`}</div></div>`;

export function Old({ since, error, again }) {
  useTick(5);
  return html`<div class="sight old" role="status" data-sight="old"><${Icon} name="old" /><div><p><strong>${t("sight.old", { ago: ago(since) })}</strong>
    ${" "}${t("sight.old-from", { time: clock(since, { seconds: true }) })} ${error ? error.message : t("sight.old-trying")}</p>
    ${again && html`<button type="button" class="small" onClick=${again}>${t("action.again")}</button>`}</div></div>`;
}

/** One of the four, or what `children(value)` draws. `empty(value)`: null, or what to say instead. */
export function Sight({ of, children, empty, what }) {
  if (of.sight === "loading") return html`<${Loading} what=${what} />`;
  if (of.sight === "failed") return html`<${Failed} error=${of.error} again=${of.again} />`;
  const nothing = empty?.(of.value);
  return html`${of.sight === "old" && html`<${Old} since=${of.at} error=${of.error} again=${of.again} />`}${nothing || children(of.value)}`;
}

// -- explanations ----------------------------------------------------------------------------------------------------------

/** What is explained now: {what, title}; null: nothing. */
const explained = store(null);
const meanings = store(null);

/** The meaning that the program itself gives a field: {meaning, unit}; null where it gives none. */
export function meaningOf(field) {
  const all = meanings.get();
  const found = all?.fields?.[field] ?? all?.[field];
  if (!found) return null;
  return typeof found === "string" ? { meaning: found } : found;
}
export const useMeanings = () => useStore(meanings);
export async function loadMeanings() {
  if (meanings.get() === null) await ask("/api/meanings").then((found) => meanings.set(found), () => {});
}

/** A word that explains itself when it is pressed. `what`: a text `explain.<what>` of the catalogue, `field`: of the program. */
export const Explained = ({ what, field, title, children }) => html`<button type="button" class="explained" aria-haspopup="dialog"
  onClick=${() => { loadMeanings(); explained.set({ what, field, title: title ?? children }); }}>${children}</button>`;

export function Explanation() {
  const asked = useStore(explained);
  useStore(meanings);
  if (!asked) return null;
  const field = asked.field ? meaningOf(asked.field) : null;
  const own = asked.what && has(`explain.${asked.what}`) ? t(`explain.${asked.what}`) : null;
  return html`<${Dialog} title=${asked.title} onClose=${() => explained.set(null)}>
    ${own && html`<p>${own}</p>`}
    ${field && html`<p class=${own ? "muted" : ""}><span lang="en">${field.meaning}</span>${field.unit && html` ${t("explain.unit", { unit: unitText(field.unit) })}`}</p>`}
    ${!own && !field && html`<p>${t("explain.none")}</p>`}
    ${asked.field && html`<p class="muted small-text">${t("explain.field")} <code>${asked.field}</code></p>`}
    <p class="small-text"><a href="#/manual" onClick=${() => explained.set(null)}>${t("explain.manual")}</a></p>
  </${Dialog}>`;
}

/** A figure with its unit, its interval or uncertainty, and a word that explains it. */
export function Figure({ label, what, field, value, unit, low, high, uncertainty, text, note, big = false, digits = 3 }) {
  const shown = text ?? (typeof value === "number" ? number(value, digits) : value ?? "–");
  return html`<div class=${big ? "figure big" : "figure"}><dt><${Explained} what=${what} field=${field}>${label}</${Explained}></dt>
    <dd><span class="value">${shown}</span>${unit && text === undefined && typeof value === "number" && html`<span class="unit">\u202f${unitText(unit)}</span>`}
    ${typeof uncertainty === "number" && html`<span class="spread">\u202f± ${number(uncertainty, 2)}</span>`}
    ${typeof low === "number" && html`<span class="spread">${t("figure.interval", { low: number(low, digits), high: number(high, digits) })}</span>`}
    ${note && html`<span class="note">${note}</span>`}</dd></div>`;
}

// -- small things ----------------------------------------------------------------------------------------------------------

/** ok, warning, failed, not evaluated: a mark with its word, never a colour alone. */
export function Badge({ status, children }) {
  const kind = { ok: "ok", warning: "warning", failed: "failed" }[status] ?? "unknown";
  return html`<span class=${`badge ${kind}`}><${Icon} name=${kind} />${children ?? t(`status.${status}`)}</span>`;
}

export const Severity = ({ of }) => html`<${Badge} status=${{ alarm: "failed", warning: "warning" }[of] ?? "unknown"}>${t(`severity.${of}`)}</${Badge}>`;

export const Qc = ({ flag }) => html`<${Badge} status=${{ 1: "ok", 3: "warning", 4: "failed" }[flag] ?? "unknown"}>${t(`qc.${flag ?? 2}`)}</${Badge}>`;

export const Time = ({ at, seconds = false, date }) => (at ? html`<time datetime=${at} title=${wholeTime(at)}>${clock(at, { seconds, date })}</time>` : "–");

export function Ago({ at, every = 1 }) {
  useTick(every);
  return at ? html`<time datetime=${at} title=${wholeTime(at)}>${ago(at)}</time>` : "–";
}

export function InOrAgo({ at }) {
  useTick(1);
  return at ? html`<time datetime=${at} title=${wholeTime(at)}>${inOrAgo(at)}</time>` : "–";
}

/** A share as a bar; the figure stands beside it. */
export const Share = ({ of }) => html`<svg class="share" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true"><rect width=${100 * of} height="1" /></svg>`;

export const Uncertain = ({ value, uncertainty, unit }) => html`<span class="nowrap">${number(value)}${typeof uncertainty === "number" && ` ± ${number(uncertainty, 2)}`}${unit && `\u202f${unitText(unit)}`}</span>`;

export const Card = ({ title, aside, children, id, kind = "" }) => html`<section id=${id} class=${`card ${kind}`} aria-labelledby=${id && `${id}-title`}>
  ${title && html`<header><h2 id=${id && `${id}-title`}>${title}</h2>${aside}</header>`}${children}</section>`;

/** A choice of one out of few, as a row of buttons that radio keys move through. */
export const Choice = ({ name, legend, value, options, onChange }) => html`<fieldset class="choice"><legend>${legend}</legend>
  ${options.map(([key, label]) => html`<label key=${key}><input type="radio" name=${name} value=${key} checked=${key === value} onChange=${() => onChange(key)} /><span>${label}</span></label>`)}</fieldset>`;

// -- what came of something ------------------------------------------------------------------------------------------------

const toasts = store([]);
let counter = 0;

/** Say what came of something; `undo` offers to take it back. */
export function say(text, { kind = "ok", undo, lastS = 7 } = {}) {
  const id = (counter += 1);
  toasts.set([...toasts.get().slice(-2), { id, text, kind, undo }]);
  setTimeout(() => toasts.set(toasts.get().filter((one) => one.id !== id)), (kind === "failed" ? 15 : lastS) * 1000);
}

export function Toasts() {
  const shown = useStore(toasts);
  const close = (id) => toasts.set(toasts.get().filter((one) => one.id !== id));
  return html`<div class="toasts" role="status" aria-live="polite">${shown.map((one) => html`<div key=${one.id} class=${`toast ${one.kind}`}>
    <${Icon} name=${one.kind} /><span>${one.text}</span>
    ${one.undo && html`<button type="button" class="small" onClick=${() => { close(one.id); one.undo(); }}>${t("action.undo")}</button>`}
    <button type="button" class="plain" aria-label=${t("action.close")} onClick=${() => close(one.id)}><span aria-hidden="true">×</span></button></div>`)}</div>`;
}

export const words = (error) => [error.message, error.said?.remedy].filter(Boolean).join(" ");

/** Ask the box to do something, by the same requests as over MQTT; says what came of it. */
export async function request(command, body = {}, done = t(`done.${command}`)) {
  try {
    const answer = await ask(`/api/requests/${command}`, { method: "POST", body, timeoutS: 120 });
    if (answer?.status === "error") {
      say(answer.error, { kind: "failed" });
      return null;
    }
    say(answer?.data?.applies ? `${done} (${t("done.applies", { when: answer.data.applies })})` : done);
    return answer ?? {};
  } catch (error) {
    say(words(error), { kind: "failed" });
    return null;
  }
}

/** For those who may not: what they need. */
export function OperatorsOnly({ children }) {
  const who = useStore(session);
  useStore(language);
  if (who?.user?.role === "operator") return children;
  return html`<p class="muted small-text">${t(who?.set_up ? "operator.log-in" : "operator.set-up")} <a href=${who?.set_up ? "#/login" : "#/setup"}>${t(who?.set_up ? "action.log-in" : "action.set-up")}</a></p>`;
}
