// What the instrument is and how it is set: calibration records, models, settings.
import { Dialog, html, useEffect, useState, useStore } from "./dom.js";
import { ask, listOf, mayOperate, session, useAnswer } from "./api.js";
import { boxNow, number, quantity, span, unitText } from "./format.js";
import { has, t } from "./i18n.js";
import { live } from "./live.js";
import { Ago, Badge, Card, Empty, Explained, Failed, Icon, Loading, OperatorsOnly, Sight, Time, Uncertain, meaningOf, request, say } from "./parts.js";

const DAY_S = 86_400;
const SOON_S = 30 * DAY_S;
const PROCEDURES = ["dark", "flat", "distance", "tilt", "pitch", "flow", "counts", "dose", "transfer"];

// -- calibration -----------------------------------------------------------------------------------------------------------

function Expiry({ record }) {
  const left = (Date.parse(record.valid_until) - boxNow()) / 1000;
  const status = left < 0 ? "failed" : left < SOON_S ? "warning" : "ok";
  return html`<${Badge} status=${status}>${left < 0 ? t("calibration.expired", { span: span(left) }) : t("calibration.expires", { span: span(left) })}</${Badge}>`;
}

const valuesOf = (record) => Object.entries(record.values ?? {}).map(([name, one]) => ({ name, ...one }));

function Records({ records, refused, guide }) {
  return html`${refused.length > 0 && html`<div class="sight failed"><${Icon} name="failed" /><div><p><strong>${t("calibration.refused")}</strong></p><ul lang="en">${refused.map((one, k) => html`<li key=${k}>${one}</li>`)}</ul></div></div>`}
    <ul class="records">${records.map((record) => html`<li key=${record.id}><div class="record-head"><h3><${Explained} what=${`procedure-${record.procedure}`}>${t(`procedure.${record.procedure}`)}</${Explained}></h3>
        <${Badge} status=${record.verdict === "pass" ? "ok" : "failed"}>${t(`verdict.${record.verdict}`)}</${Badge}><${Expiry} record=${record} />${record.in_force === false && html`<${Badge} status="unknown">${t("calibration.not-used")}</${Badge}>`}</div>
      <dl class="figures small">${valuesOf(record).map((one) => html`<div class="figure" key=${one.name}><dt><${Explained} field=${`calibration.${one.name}`} what="uncertainty" title=${one.name.replaceAll("_", " ")}>${one.name.replaceAll("_", " ")}</${Explained}></dt><dd><${Uncertain} value=${one.value} uncertainty=${one.uncertainty} unit=${one.unit} /></dd></div>`)}</dl>
      ${(record.reasons ?? []).length > 0 && html`<ul class="reasons" lang="en">${record.reasons.map((reason) => html`<li key=${reason}>${reason}</li>`)}</ul>`}
      <p class="muted small-text">${t("calibration.made")} <${Time} at=${record.made_at} date="always" />${record.operator && ` · ${record.operator}`} · ${t("calibration.until")} <${Time} at=${record.valid_until} date="always" /> · <code>${record.id}</code>
        ${" "}${guide && html`<button type="button" class="plain link" onClick=${() => guide(record.procedure)}>${t("calibration.again")}</button>`}</p></li>`)}</ul>`;
}

/** What a procedure must be told, beside what is in the configuration; those without a default end in "!". */
const TOLD = {
  distance: ["diameter-um"], tilt: ["diameter-um"], pitch: ["ruling-um"], flow: ["interval-s!", "channel-width-um!", "diameter-um"],
  counts: ["concentration-per-ml!", "volume-ml!"], dose: ["doses-per-ul!"],
};

/** The command with what was told; only figures get into it. */
function Command({ procedure }) {
  const [told, tell] = useState({});
  const asked = (TOLD[procedure] ?? []).map((one) => ({ name: one.replace("!", ""), needed: one.endsWith("!") }));
  const good = (text) => /^\s*\d+(\.\d+)?(e[+-]?\d+)?(\s+\d+(\.\d+)?(e[+-]?\d+)?)*\s*$/i.test(text ?? "");
  const words = asked.filter(({ name }) => good(told[name])).map(({ name }) => `--${name} ${told[name].trim().replace(/\s+/g, " ")}`);
  const missing = asked.filter(({ name, needed }) => needed && !good(told[name]));
  const command = ["holonode-calibrate", procedure, "--config", "box.toml", ...words, ...missing.map(({ name }) => `--${name} …`)].join(" ");
  return html`${asked.map(({ name, needed }) => html`<label key=${name}>${t(`guide.told-${name}`)}${needed && " *"}<input inputmode="decimal" value=${told[name] ?? ""} aria-invalid=${told[name] && !good(told[name]) ? "true" : undefined} onInput=${(event) => tell({ ...told, [name]: event.target.value })} /></label>`)}
    <p class="command"><code>${command}</code> ${navigator.clipboard && html`<button type="button" class="small secondary outline" disabled=${missing.length > 0} onClick=${() => navigator.clipboard.writeText(command).then(() => say(t("guide.copied")), () => {})}>${t("guide.copy")}</button>`}</p>
    <p>${t("guide.command")}</p><p class="muted small-text">${t("guide.one-program")}</p>`;
}

/** What the camera sees, with its age: nothing is taken while sampling is paused. */
function LivePicture() {
  const { look, state, link } = useStore(live);
  useStore(session);
  const paused = state?.doing === "paused";
  const [busy, setBusy] = useState(false);
  const once = async () => { setBusy(true); await request("sample_now"); setBusy(false); };
  return html`<div>${look?.id ? html`<figure class="picture"><img src=${`/api/look/${encodeURIComponent(look.id)}/hologram.jpg`} alt=${t("guide.live")} /><figcaption>${t("guide.live")} <strong><${Ago} at=${look.taken_at} /></strong></figcaption></figure>` : html`<p class="muted">${t("now.picture-none")}</p>`}
    ${link === "lost" ? html`<p class="warn" role="status">${t("guide.away")}</p>` : paused && html`<p class="muted small-text">${t("now.picture-paused")}</p>`}
    ${mayOperate() && html`<button type="button" class="small secondary outline" disabled=${busy || link === "lost"} aria-busy=${busy} onClick=${once}>${t("guide.look")}</button>`}</div>`;
}

/** Waits for the record that a procedure leaves; one that was there before doesn't count. */
function Arrival({ procedure, before }) {
  const answer = useAnswer("/api/calibration", { everyS: 4 });
  const { state } = useStore(live);
  const found = listOf(answer.value, "records").find((record) => record.procedure === procedure && !before.has(record.id));
  if (!found) return html`<p class="muted waits" role="status"><span class="spinner" aria-hidden="true"></span> ${t("guide.waiting")}</p>`;
  const used = state?.started_at && Date.parse(state.started_at) > Date.parse(found.made_at);
  return html`<section class="arrived" aria-live="polite"><h3>${t("guide.arrived")}</h3><${Records} records=${[found]} refused=${[]} />
    <p>${t(found.verdict !== "pass" ? "guide.failed" : used ? "guide.used" : "guide.next-start")}</p></section>`;
}

/** One procedure, step by step, with what the camera sees, to the record that comes of it. */
function Guide({ procedure, before, onClose }) {
  const [step, setStep] = useState(1);
  let last = 1;
  while (has(`guide.${procedure}.${last + 1}`)) last += 1;
  return html`<${Dialog} wide title=${t("guide.title", { procedure: t(`procedure.${procedure}`) })} onClose=${onClose}>
    <p>${t(`explain.procedure-${procedure}`)}</p><p class="muted" aria-live="polite">${t("guide.step", { step, last })}</p>
    <div class="guide"><div><p class="guide-step">${t(`guide.${procedure}.${step}`)}</p>${step === last && html`<${Command} procedure=${procedure} /><${Arrival} procedure=${procedure} before=${before} />`}</div>
      <${LivePicture} /></div>
    <footer class="controls"><button type="button" class="secondary outline small" disabled=${step === 1} onClick=${() => setStep(step - 1)}>${t("guide.back")}</button>
      ${step < last ? html`<button type="button" class="small" onClick=${() => setStep(step + 1)}>${t("guide.next")}</button>` : html`<button type="button" class="small" onClick=${onClose}>${t("guide.done")}</button>`}</footer></${Dialog}>`;
}

function Calibration() {
  const answer = useAnswer("/api/calibration");
  const [guided, guide_] = useState(null);
  // What is there when a guide begins is not what comes of it.
  const guide = (procedure) => guide_(procedure && { procedure, before: new Set(listOf(answer.value, "records").map((record) => record.id)) });
  return html`<${Card} id="calibration" title=${t("instrument.calibration")} aside=${html`<${Explained} what="calibration">${t("calibration.what")}</${Explained}>`}>
    <${Sight} of=${answer}>${(value) => {
      const records = listOf(value, "records");
      const missing = PROCEDURES.filter((procedure) => !records.some((record) => record.procedure === procedure));
      return html`${records.length ? html`<${Records} records=${records} refused=${value?.refused ?? []} guide=${guide} />` : html`<${Empty} title=${t("calibration.none")}><p>${t("calibration.none-why")}</p></${Empty}>`}
        <p class="guides"><span>${t("calibration.guides")}</span> ${[...missing, ...PROCEDURES.filter((one) => !missing.includes(one))].map((procedure) => html`<button type="button" key=${procedure} class="secondary outline small" onClick=${() => guide(procedure)}>${t(`procedure.${procedure}`)}</button>`)}</p>`;
    }}</${Sight}>${guided && html`<${Guide} key=${guided.procedure} ...${guided} onClose=${() => { guide_(null); answer.again(); }} />`}</${Card}>`;
}

// -- models ----------------------------------------------------------------------------------------------------------------

function CardText({ model, onClose }) {
  const [text, setText] = useState(null), [error, setError] = useState(null);
  useEffect(() => {
    fetch(`/api/models/${encodeURIComponent(model.name)}/${encodeURIComponent(model.version)}/card`, { signal: AbortSignal.timeout(20_000) })
      .then(async (answer) => { if (!answer.ok) throw new Error(t("error.status", { status: answer.status })); setText(await answer.text()); })
      .catch((problem) => setError({ message: problem.message, kind: "refused" }));
  }, []);
  return html`<${Dialog} wide title=${t("models.card", { name: model.name, version: model.version })} onClose=${onClose}>${error ? html`<${Failed} error=${error} />` : text === null ? html`<${Loading} />` : html`<pre class="card-text" lang="en" tabindex="0">${text}</pre>`}</${Dialog}>`;
}

function Sure({ title, text, verb, onYes, onClose }) {
  return html`<${Dialog} title=${title} onClose=${onClose}><p>${text}</p><footer class="controls"><button type="button" class="secondary outline small" onClick=${onClose}>${t("action.cancel")}</button><button type="button" class="small" onClick=${() => { onClose(); onYes(); }}>${verb}</button></footer></${Dialog}>`;
}

function Models() {
  const answer = useAnswer("/api/models");
  const [card, show] = useState(null), [sure, ask_] = useState(null);
  useStore(session);
  const { state } = useStore(live);
  const used = new Set(Object.values(state?.info?.models ?? {}).map((model) => model.sha256));
  const inUse = (model) => used.has(model.sha256);
  const change = async (command, body) => { if (await request(command, body)) answer.again(); };
  return html`<${Card} id="models" title=${t("instrument.models")} aside=${html`<${Explained} what="model">${t("models.what")}</${Explained}>`}>
    <${Sight} of=${answer} empty=${(value) => (listOf(value, "models").length ? null : html`<${Empty} title=${t("models.none")}><p>${t("models.none-why")}</p></${Empty}>`)}>${(value) => html`<ul class="records">${listOf(value, "models").map((model) => html`<li key=${`${model.name}-${model.version}`} data-model=${`${model.name} ${model.version}`}>
      <div class="record-head"><h3>${model.name} <span class="nowrap">${model.version}</span></h3>${inUse(model) ? html`<${Badge} status="ok">${t("models.in-use")}</${Badge}>` : model.active && html`<${Badge} status="unknown">${t("models.active")}</${Badge}>`}${model.previous && html`<${Badge} status="unknown">${t("models.previous")}</${Badge}>`}
        ${model.task && html`<span class="muted">${model.task}</span>`}${coverageOf(model, inUse(model))}</div>
      <p class="muted small-text">${t("models.digest")} <code class="digest">${model.sha256 ?? "–"}</code></p>
      ${model.problem && html`<p class="warn" lang="en">${model.problem}</p>`}
      <p class="controls"><button type="button" class="secondary outline small" onClick=${() => show(model)}>${t("models.read")}</button>
        ${mayOperate() && !model.active && html`<button type="button" class="secondary small" onClick=${() => ask_({ title: t("models.activate-title", { name: model.name, version: model.version }), text: t("models.activate-why"), verb: t("models.activate"), onYes: () => change("activate", { name: model.name, version: model.version, allow_older: true }) })}>${t("models.activate")}</button>`}
        ${mayOperate() && model.active && model.may_roll_back && html`<button type="button" class="secondary outline small" onClick=${() => ask_({ title: t("models.rollback-title", { name: model.name }), text: t("models.rollback-why"), verb: t("models.rollback"), onYes: () => change("rollback", { name: model.name }) })}>${t("models.rollback")}</button>`}</p></li>`)}</ul>`}</${Sight}>
    <${OperatorsOnly} />${card && html`<${CardText} key=${`${card.name}${card.version}`} model=${card} onClose=${() => show(null)} />`}${sure && html`<${Sure} ...${sure} onClose=${() => ask_(null)} />`}</${Card}>`;
}

function coverageOf(model, used) {
  if (typeof model.covers !== "boolean") return null;
  return html`<${Badge} status=${model.covers ? "ok" : used ? "failed" : "unknown"}>${t(model.covers ? "models.covers" : "models.covers-not")}</${Badge}>${model.coverage && html`<span class="muted small-text" lang="en">${model.coverage}</span>`}`;
}

// -- settings --------------------------------------------------------------------------------------------------------------

function Setting({ setting, reload }) {
  const [text, setText] = useState(null);
  const [low, high] = setting.bounds ?? [null, null];
  const value = Number(text);
  const wrong = text !== null && (text.trim() === "" || !Number.isFinite(value) || (low !== null && value < low) || (high !== null && value > high));
  const send = async (wanted) => { if (await request("set", { settings: { [setting.key]: wanted } })) { setText(null); reload(); } };
  const unit = setting.unit ?? meaningOf(`settings.${setting.key}`)?.unit;
  const id = `set-${setting.key.replace(/\W/g, "-")}`;
  const shown = typeof setting.value === "number" ? quantity(setting.value, unit, 6) : setting.value === null || setting.value === undefined ? "–" : typeof setting.value === "object" ? JSON.stringify(setting.value) : String(setting.value);
  return html`<tr data-setting=${setting.key}><th scope="row"><code>${setting.key}</code>${setting.meaning && html`<p class="muted small-text" lang="en">${setting.meaning}</p>`}</th>
    <td>${text === null ? html`<strong>${shown}</strong>` : html`<form class="with-button" onSubmit=${(event) => { event.preventDefault(); if (!wrong) send(value); }}><input id=${id} aria-label=${setting.key} inputmode="decimal" value=${text} aria-invalid=${wrong ? "true" : undefined} onInput=${(event) => setText(event.target.value)} />
        <button type="submit" class="small" disabled=${wrong}>${t("settings.save")}</button><button type="button" class="small secondary outline" onClick=${() => setText(null)}>${t("action.cancel")}</button></form>`}
      ${low !== null && html`<p class=${wrong ? "warn small-text" : "muted small-text"}>${t("settings.bounds", { low: number(low), high: number(high) })} ${unitText(unit)}</p>`}</td>
    <td>${setting.changed ? html`<span>${t("settings.changed")} ${setting.changed_at && html`<${Time} at=${setting.changed_at} date="always" />`}</span> <span class="muted">${setting.changed_by}</span>${setting.changed && html`<p class="muted small-text">${t("settings.file", { value: String(setting.from_file) })}</p>`}` : html`<span class="muted">${t("settings.from-file")}</span>`}</td>
    <td>${mayOperate() && setting.settable && text === null && html`<div class="controls"><button type="button" class="small secondary outline" aria-label=${t("settings.change-one", { key: setting.key })} onClick=${() => setText(String(setting.value ?? ""))}>${t("settings.change")}</button>
      ${setting.changed && html`<button type="button" class="small plain link" onClick=${() => send(null)}>${t("settings.reset")}</button>`}</div>`}</td></tr>`;
}

function Settings() {
  const answer = useAnswer("/api/settings");
  const [all, setAll] = useState(false);
  useStore(session);
  return html`<${Card} id="settings" title=${t("instrument.settings")} aside=${html`<label class="check"><input type="checkbox" role="switch" checked=${all} onChange=${(event) => setAll(event.target.checked)} /> ${t("settings.all")}</label>`}>
    <${Sight} of=${answer}>${(value) => html`<div class="scroll" tabindex="0" role="region" aria-label=${t("instrument.settings")}><table class="settings"><thead><tr><th scope="col">${t("settings.key")}</th><th scope="col">${t("settings.value")}</th><th scope="col">${t("settings.who")}</th><th scope="col"><span class="sr">${t("settings.change")}</span></th></tr></thead>
      <tbody>${listOf(value, "settings").filter((one) => all || one.settable || one.changed).map((one) => html`<${Setting} key=${one.key} setting=${one} reload=${answer.again} />`)}</tbody></table></div>`}</${Sight}><${OperatorsOnly} /></${Card}>`;
}

function What() {
  const { state } = useStore(live);
  const info = state?.info;
  if (!info) return null;
  const instrument = info.instrument ?? {};
  return html`<${Card} id="what" title=${t("instrument.what")}><dl class="figures small"><div class="figure"><dt>${t("instrument.name")}</dt><dd>${instrument.name ?? "–"}</dd></div><div class="figure"><dt><${Explained} field="info.instrument_id" what="identity">${t("instrument.id")}</${Explained}></dt><dd><code>${info.instrument_id}</code></dd></div>
    <div class="figure"><dt><${Explained} field="info.config_hash" what="identity">${t("instrument.config")}</${Explained}></dt><dd><code>${info.config_hash}</code></dd></div><div class="figure"><dt><${Explained} field="info.calibration_id" what="identity">${t("instrument.calibration-id")}</${Explained}></dt><dd>${info.calibration_id ? html`<code>${info.calibration_id}</code>` : t("instrument.no-calibration")}</dd></div>
    <div class="figure"><dt><${Explained} field="info.pipeline_id" what="identity">${t("instrument.pipeline")}</${Explained}></dt><dd><code>${info.pipeline_id}</code></dd></div>
    <div class="figure"><dt>${t("instrument.armed")}</dt><dd>${info.armed ? html`${info.armed.by}, <${Time} at=${info.armed.at} date="always" />` : t("instrument.not-armed")}</dd></div>
    ${Object.entries(info.software ?? {}).map(([name, version]) => html`<div class="figure" key=${name}><dt>${name}</dt><dd>${version}</dd></div>`)}</dl></${Card}>`;
}

export function Instrument() {
  return html`<div class="instrument"><${Calibration} /><${Models} /><${Settings} /><${What} /></div>`;
}
