// Particles worth a look: a gallery that is named by keyboard, each name taken back as easily.
import { Dialog, html, route, store, to, useEffect, useLayoutEffect, useMemo, useRef, useState, useStore } from "./dom.js";
import { ask, listOf, mayOperate, query, session, useAnswer } from "./api.js";
import { number, percent, quantity } from "./format.js";
import { t } from "./i18n.js";
import { Card, Choice, Empty, Explained, Icon, OperatorsOnly, Share, Sight, Time, say, words } from "./parts.js";
import { Physics } from "./now.js";

const REASONS = ["uncertain", "inconsistent", "random"];
const SORTS = ["newest", "oldest", "score", "-size", "size"];
const AT_ONCE = 48;
const LABEL = /^[a-z0-9-]{1,64}$/;
const VARIOUS = ["unknown", "artefact", "bubble"];

const labelOf = (one) => one.person_label ?? null;

/** What people called particles on this visit, over what the box said: {id: label or null}. */
const named = store({});
const undone = [];

async function putLabel(one, label, { again = false } = {}) {
  const before = one.id in named.get() ? named.get()[one.id] : labelOf(one);
  try {
    if (label === null) await ask(`/api/particles/${encodeURIComponent(one.id)}/label`, { method: "DELETE" });
    else await ask(`/api/particles/${encodeURIComponent(one.id)}/label`, { method: "PUT", body: { label } });
  } catch (error) {
    say(words(error), { kind: "failed" });
    return;
  }
  // Shown once the box has it, never before.
  named.merge({ [one.id]: label });
  if (again) { say(label === null ? t("particles.unlabelled") : t("particles.labelled", { label })); return; }
  undone.push({ one, before });
  say(label === null ? t("particles.unlabelled") : t("particles.labelled", { label }), { undo: undo });
}

function undo() {
  const last = undone.pop();
  if (!last) { say(t("particles.nothing-to-undo")); return; }
  putLabel(last.one, last.before, { again: true });
}

function Picture({ id, channel }) {
  const [lost, setLost] = useState(false);
  useEffect(() => setLost(false), [id, channel]);
  return lost ? html`<span class="no-picture"><${Icon} name="failed" />${t("particles.no-picture")}</span>`
    : html`<img src=${`/api/particles/${encodeURIComponent(id)}.png?channel=${channel}`} alt="" width="96" height="96" loading="lazy" onError=${() => setLost(true)} />`;
}

function Tile({ one, channel, current, choose, label, open }) {
  const ref = useRef();
  useLayoutEffect(() => { if (current && document.activeElement?.closest?.(".gallery")) ref.current.focus({ preventScroll: false }); }, [current]);
  return html`<li class=${current ? "tile current" : "tile"}><button type="button" ref=${ref} data-id=${one.id} tabindex=${current ? 0 : -1} aria-current=${current ? "true" : undefined} onFocus=${choose} onClick=${choose} onDblClick=${open}>
    <${Picture} id=${one.id} channel=${channel} />
    <span class="names"><strong>${one.label}</strong><span class="muted">${one.score === null || one.score === undefined ? t("particles.no-score") : percent(one.score)}</span></span>
    <span class="muted">${quantity(one.esd_um, "um")}</span>
    ${label ? html`<span class="given"><${Icon} name="ok" /><span class="sr">${t("particles.called")}</span>${label}</span>` : html`<span class="given none">${t("particles.unnamed")}</span>`}</button></li>`;
}

function Keys({ labels, onClose }) {
  return html`<${Dialog} title=${t("particles.keys")} onClose=${onClose}><dl class="keys">
    ${labels.slice(0, 9).map((label, k) => html`<div key=${label}><dt><kbd>${k + 1}</kbd></dt><dd>${label}</dd></div>`)}
    <div><dt><kbd>←</kbd> <kbd>→</kbd> <kbd>↑</kbd> <kbd>↓</kbd></dt><dd>${t("keys.move")}</dd></div><div><dt><kbd>N</kbd></dt><dd>${t("keys.other")}</dd></div><div><dt><kbd>U</kbd></dt><dd>${t("keys.undo")}</dd></div>
    <div><dt><kbd>Del</kbd></dt><dd>${t("keys.remove")}</dd></div><div><dt><kbd>P</kbd></dt><dd>${t("keys.phase")}</dd></div><div><dt><kbd>?</kbd></dt><dd>${t("keys.help")}</dd></div></dl></${Dialog}>`;
}

function About({ one, channel, labels, label, write, field }) {
  const probable = Object.entries(one.probabilities ?? {}).sort((a, b) => b[1] - a[1]).slice(0, 5);
  const operator = mayOperate();
  return html`<${Card} id="about" title=${t("particles.this")} kind="about">
    <div class="about-picture"><${Picture} id=${one.id} channel=${channel} /></div>
    <figure class="about-picture"><${Picture} id=${one.id} channel="brightfield" /><figcaption class="muted small-text">${t("view.brightfield")}</figcaption></figure>
    <dl class="figures"><div class="figure"><dt><${Explained} what="class" field="detection.label">${t("column.class")}</${Explained}></dt><dd><span class="value">${one.label}</span></dd></div>
      <div class="figure"><dt><${Explained} what="esd" field="detection.esd_um">${t("column.size")}</${Explained}></dt><dd><span class="value">${quantity(one.esd_um, "um")}</span></dd></div>
      <div class="figure"><dt><${Explained} what="depth" field="detection.z_um">${t("column.depth")}</${Explained}></dt><dd><span class="value">${quantity(one.z_um, "um")}</span></dd></div>
      <div class="figure"><dt><${Explained} what="physics" field="detection.consistency">${t("column.physics")}</${Explained}></dt><dd><${Physics} consistency=${one.consistency} /></dd></div></dl>
    <p class="muted small-text">${t("particles.seen")} <${Time} at=${one.captured_at} seconds date="always" /> · <${Explained} what=${`reason-${one.reason}`}>${t(`reason.${one.reason}`)}</${Explained}></p>
    ${probable.length > 0 && html`<ul class="probabilities">${probable.map(([name, share]) => html`<li key=${name}><span>${name}</span><${Share} of=${share} /><span>${percent(share)}</span></li>`)}</ul>`}
    ${operator ? html`<p class="label-title">${t("particles.what-is-it")}</p><div class="label-buttons">${labels.map((name, k) => html`<button type="button" key=${name} class=${name === label ? "small" : "small secondary outline"} aria-pressed=${name === label} onClick=${() => write(name)}>${k < 9 && html`<kbd>${k + 1}</kbd> `}${name}</button>`)}</div>
      <${OtherLabel} write=${write} field=${field} />
      ${label && html`<p><button type="button" class="plain link" onClick=${() => write(null)}>${t("particles.remove")}</button></p>`}` : html`<${OperatorsOnly} />`}
  </${Card}>`;
}

function OtherLabel({ write, field }) {
  const [text, setText] = useState("");
  const wrong = text !== "" && !LABEL.test(text);
  return html`<form class="with-button" onSubmit=${(event) => { event.preventDefault(); if (LABEL.test(text)) { write(text); setText(""); event.target.querySelector("input").blur(); } }}>
    <input ref=${field} aria-label=${t("particles.other")} placeholder=${t("particles.other")} value=${text} maxlength="64" spellcheck="false" autocapitalize="off" aria-invalid=${wrong ? "true" : undefined} aria-describedby="label-rule" onInput=${(event) => setText(event.target.value)} />
    <button type="submit" class="small secondary" disabled=${text === "" || wrong}>${t("particles.name")}</button></form><small id="label-rule" class=${wrong ? "warn" : "muted"}>${t("particles.rule")}</small>`;
}

export function Particles() {
  const { query: asked } = useStore(route);
  const given = useStore(named);
  useStore(session);
  const reason = asked.get("reason") ?? "", label = asked.get("label") ?? "", sort = asked.get("sort") ?? "newest";
  const [channel, setChannel] = useState("amplitude");
  const [more, setMore] = useState([]);
  const [at, setAt] = useState(0);
  const [help, setHelp] = useState(false);
  const field = useRef();
  const gallery = useRef();
  const path = query("/api/particles", { reason, label, sort, limit: AT_ONCE });
  const answer = useAnswer(path);
  useEffect(() => { setMore([]); setAt(0); }, [path]);
  const all = useMemo(() => [...listOf(answer.value, "particles"), ...more.flatMap((page) => listOf(page, "particles"))], [answer.value, more]);
  const next = (more[more.length - 1] ?? answer.value)?.next ?? null;
  const labels = useMemo(() => [...new Set([...all.flatMap((one) => Object.keys(one.probabilities ?? {})), ...all.map(labelOf).filter(Boolean)])].filter((name) => !VARIOUS.includes(name)).sort().concat(VARIOUS), [all]);
  const current = all[Math.min(at, all.length - 1)];
  const called = (one) => (one.id in given ? given[one.id] : labelOf(one));
  const write = (name) => {
    if (!current || !mayOperate()) return;
    putLabel(current, name);
    if (name !== null) setAt((k) => Math.min(all.length - 1, k + 1));
  };
  const filter = (changes) => { location.hash = to("particles", { reason, label, sort, ...changes }); };
  async function load() {
    try { setMore([...more, await ask(query("/api/particles", { reason, label, sort, limit: AT_ONCE, after: next }))]); } catch (error) { say(words(error), { kind: "failed" }); }
  }
  useEffect(() => {
    const press = (event) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, select, textarea, dialog")) return;
      const rows = gallery.current ? Math.max(1, getComputedStyle(gallery.current).gridTemplateColumns.split(" ").length) : 1;
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -rows, ArrowDown: rows, Home: -1e6, End: 1e6 }[event.key];
      if (step !== undefined && event.target.closest?.(".gallery")) { event.preventDefault(); setAt((k) => Math.max(0, Math.min(all.length - 1, k + step))); }
      else if (/^[1-9]$/.test(event.key) && labels[event.key - 1]) write(labels[event.key - 1]);
      else if (event.key === "u") undo();
      else if (event.key === "Delete") write(null);
      else if (event.key === "p") setChannel(channel === "phase" ? "amplitude" : "phase");
      else if (event.key === "n") { event.preventDefault(); field.current?.focus(); }
      else if (event.key === "?") setHelp(true);
      else return;
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  });
  return html`<div class="particles"><${Card}><div class="filters">
      <label class="inline">${t("particles.reason")} <select value=${reason} onChange=${(event) => filter({ reason: event.target.value })}><option value="">${t("particles.all")}</option>${REASONS.map((one) => html`<option key=${one} value=${one}>${t(`reason.${one}`)}</option>`)}</select></label>
      <label class="inline">${t("particles.label")} <select value=${label} onChange=${(event) => filter({ label: event.target.value })}><option value="">${t("particles.all")}</option>${[...new Set([label, ...labels])].filter(Boolean).map((one) => html`<option key=${one} value=${one}>${one}</option>`)}</select></label>
      <label class="inline">${t("particles.sort")} <select value=${sort} onChange=${(event) => filter({ sort: event.target.value })}>${SORTS.map((one) => html`<option key=${one} value=${one}>${t(`sort.${one}`)}</option>`)}</select></label>
      <${Choice} name="channel" legend=${t("particles.channel")} value=${channel} onChange=${setChannel} options=${[["amplitude", t("channel.amplitude")], ["phase", t("channel.phase")]]} />
      <button type="button" class="secondary outline small" onClick=${() => setHelp(true)}><kbd>?</kbd> ${t("particles.keys")}</button>
      <button type="button" class="secondary outline small" onClick=${undo}><kbd>U</kbd> ${t("action.undo")}</button></div></${Card}>
    <${Sight} of=${answer} what=${t("particles.loading")} empty=${() => (all.length ? null : html`<${Empty} title=${t("particles.empty")}><p>${t(reason || label ? "particles.empty-filter" : "particles.empty-why")}</p></${Empty}>`)}>${() => html`<div class="two">
      <div><ul class="gallery" ref=${gallery} aria-label=${t("particles.gallery")}>${all.map((one, k) => html`<${Tile} key=${one.id} one=${one} channel=${channel} current=${k === Math.min(at, all.length - 1)} choose=${() => setAt(k)} label=${called(one)} />`)}</ul>
        ${next && html`<p><button type="button" class="secondary small" onClick=${load}>${t("particles.more")}</button></p>`}<p class="muted small-text">${t("particles.shown", { n: number(all.length), all: number(answer.value?.total ?? all.length) })}</p></div>
      ${current && html`<${About} key=${current.id} one=${current} channel=${channel} labels=${labels} label=${called(current)} write=${write} field=${field} />`}</div>`}</${Sight}>
    ${help && html`<${Keys} labels=${labels} onClose=${() => setHelp(false)} />`}</div>`;
}
