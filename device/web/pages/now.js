// What the box does and sees at this moment.
import { html, useEffect, useRef, useState, useStore } from "./dom.js";
import { ask, isFar, session } from "./api.js";
import { clock, number, quantity, span, unitText, volume } from "./format.js";
import { has, t } from "./i18n.js";
import { live } from "./live.js";
import { Notes } from "./doors.js";
import { Ago, Badge, Card, Empty, Explained, Failed, Figure, Icon, InOrAgo, Loading, OperatorsOnly, Qc, Time, Uncertain, request } from "./parts.js";

/** What it does, in this language where that has words for it. */
const doingWords = ({ doing, doing_words: words }) => (has(`doing.${doing}`) ? t(`doing.${doing}`) : words ?? doing);

const isBad = (check) => check.status === "warning" || check.status === "failed";

/** Well or not, what it does, when it will next do something. */
function FirstLine({ state }) {
  const { doing } = state;
  const checks = (state.health?.checks ?? []).filter(isBad);
  const status = doing === "failed" ? "failed" : state.health?.status ?? "unknown";
  const worst = checks.find((check) => check.status === "failed") ?? checks[0];
  return html`<section class=${`first-line ${status}`} aria-labelledby="first-line">
    <p id="first-line" class="lead"><${Icon} name=${status === "ok" ? "ok" : status === "unknown" ? "unknown" : status} /><span><strong>${t(`well.${status}`, { n: checks.length })}</strong>${" "}
      ${doingWords(state)}${state.doing_since && html`, ${t("now.since", { time: clock(state.doing_since) })}`}.${" "}
      ${state.next_at ? html`${t("next.sample")} <${InOrAgo} at=${state.next_at} />.` : doing === "paused" ? t("next.never") : ""}</span></p>
    ${worst && html`<p class="worst"><a href="#/health" lang="en">${worst.message || worst.name}</a>${worst.remedy && html` <span class="remedy" lang="en">${worst.remedy}</span>`}</p>`}
    ${state.doing === "failed" && state.doing_words && html`<p class="muted small-text" lang="en">${state.doing_words}</p>`}
    <${Controls} state=${state} />
  </section>`;
}

function Controls({ state }) {
  const [busy, setBusy] = useState(null);
  const send = async (command) => { setBusy(command); await request(command); setBusy(null); };
  const stopped = state.stats?.sampling === "stopped" || state.doing === "paused";
  const button = (command, kind = "") => html`<button type="button" class=${`small ${kind}`} data-command=${command} disabled=${busy !== null} aria-busy=${busy === command} onClick=${() => send(command)}>${t(`command.${command}`)}</button>`;
  return html`<${OperatorsOnly}><p class="controls">${stopped ? button("start") : button("stop", "secondary")}${button("sample_now", "secondary outline")}</p></${OperatorsOnly}>`;
}

// -- the pictures ----------------------------------------------------------------------------------------------------------

/** The newest look whose pictures are here: an older one stays until the newer is whole. */
function useLook(id, link) {
  const [shown, show] = useState({ sight: "loading" });
  useEffect(() => {
    if (link !== "heard") return undefined;
    if (!id) { show((before) => (before.look ? before : { sight: "empty" })); return undefined; }
    let wanted = true;
    (async () => {
      const look = await ask("/api/look");
      // Of an empty frame nothing is reconstructed: there is no focused picture then.
      const pictures = ["hologram", ...(look.focused === false ? [] : ["focus"])].map((name) => `/api/look/${encodeURIComponent(look.id)}/${name}.jpg`);
      await Promise.all(pictures.map((path) => { const one = new Image(); one.src = path; return one.decode(); }));
      if (wanted) show({ sight: "ready", look, pictures });
    })().catch((error) => {
      if (!wanted) return;
      // Gone before it was fetched: the next one comes by itself.
      show((before) => (before.look ? before : error.status === 404 ? { sight: "empty", error } : { sight: "failed", error: error.said ? error : { message: t("now.picture-gone"), kind: "lost" } }));
    });
    return () => { wanted = false; };
  }, [id, link]);
  return shown;
}

const boxKey = (particle, k) => `${k}-${particle.bbox_px?.join("-")}`;

function Picture({ src, look, name, boxes, chosen, choose }) {
  const width = look.width_px, height = look.height_px;
  // Around the particle, not on it.
  const pad = Math.max(width, height) / 90;
  return html`<figure class="picture"><figcaption><${Explained} what=${name}>${t(`now.${name}`)}</${Explained}></figcaption>
    <div class="frame"><img src=${src} alt=${t(`now.${name}-alt`, { n: look.particles?.length ?? 0, time: clock(look.taken_at, { seconds: true }) })} width=${width} height=${height} />
      ${boxes && html`<svg viewBox=${`0 0 ${width} ${height}`} preserveAspectRatio="none" aria-hidden="true">
        ${(look.particles ?? []).map((particle, k) => {
          const [x, y, w, h] = particle.bbox_px;
          const key = boxKey(particle, k);
          return html`<g key=${key} class=${`box ${flagKind(particle)} ${chosen === key ? "chosen" : ""}`} onClick=${() => choose(chosen === key ? null : key)}>
            <rect x=${x - pad} y=${y - pad} width=${w + 2 * pad} height=${h + 2 * pad} rx=${pad / 2} fill="transparent" vector-effect="non-scaling-stroke" /></g>`;
        })}</svg>`}</div></figure>`;
}

const flagKind = (particle) => ({ 1: "ok", 3: "warning", 4: "failed" }[particle.consistency?.flag] ?? "unknown");

/** What the physics check found, in a word. */
export function Physics({ consistency }) {
  const flag = consistency?.flag ?? 2;
  return html`<${Badge} status=${{ 1: "ok", 3: "warning", 4: "failed" }[flag] ?? "unknown"}>${t(`physics.${flag}`)}</${Badge}>`;
}

function Look({ id, link, doing }) {
  const shown = useLook(id, link);
  const [boxes, setBoxes] = useState(true);
  const [chosen, choose] = useState(null);
  const row = useRef();
  useEffect(() => { row.current?.scrollIntoView({ block: "nearest" }); }, [chosen]);
  const { look, pictures } = shown;
  return html`<${Card} id="look" kind="look" title=${t("now.pictures")} aside=${look && html`<p class="taken">${t("now.taken")} <strong><${Ago} at=${look.taken_at} /></strong> · <${Time} at=${look.taken_at} seconds /></p>`}>
    ${shown.sight === "loading" && html`<${Loading} what=${t("now.picture-loading")} />`}
    ${shown.sight === "failed" && html`<${Failed} error=${shown.error} />`}
    ${shown.sight === "empty" && html`<${Empty} title=${t("now.picture-none")}><p>${t(doing === "paused" ? "now.picture-paused" : "now.picture-waits")}</p></${Empty}>`}
    ${look && html`<div class="pictures"><${Picture} name="hologram" src=${pictures[0]} look=${look} boxes=${boxes} chosen=${chosen} choose=${choose} />
        ${pictures[1] ? html`<${Picture} name="focus" src=${pictures[1]} look=${look} boxes=${boxes} chosen=${chosen} choose=${choose} />` : html`<p class="muted">${t("now.no-focus")}</p>`}</div>
      <p class="controls"><label class="check"><input type="checkbox" role="switch" checked=${boxes} onChange=${(event) => setBoxes(event.target.checked)} /> ${t("now.boxes")}</label>
        ${look.scene && html`<span class="muted">${sceneWords(look.scene)}</span>`}</p>
      ${(look.reasons ?? []).length > 0 && html`<ul class="reasons" lang="en">${look.reasons.map((reason) => html`<li key=${reason}>${reason}</li>`)}</ul>`}
      ${(look.particles ?? []).length === 0 ? html`<p data-zero=${look.scene ? "looked" : "unknown"}>${t(look.scene ? "now.none-seen" : "now.not-searched")}</p>` : html`<div class="scroll particles-table" tabindex="0" role="region" aria-label=${t("now.particles")}><table>
        <thead><tr><th scope="col">${t("column.class")}</th><th scope="col"><${Explained} what="esd" field="detection.esd_um">${t("column.size")}</${Explained}></th><th scope="col"><${Explained} what="depth" field="detection.z_um">${t("column.depth")}</${Explained}></th>
          <th scope="col"><${Explained} what="score" field="detection.score">${t("column.score")}</${Explained}></th><th scope="col"><${Explained} what="physics" field="detection.consistency">${t("column.physics")}</${Explained}></th></tr></thead>
        <tbody>${look.particles.map((particle, k) => {
          const key = boxKey(particle, k);
          return html`<tr key=${key} ref=${chosen === key ? row : undefined} class=${chosen === key ? "chosen" : ""} onMouseEnter=${() => choose(key)}>
            <th scope="row">${particle.label}</th><td><${Uncertain} value=${particle.esd_um} uncertainty=${particle.esd_uncertainty_um} unit="um" /></td><td>${quantity(particle.z_um, "um")}</td>
            <td>${particle.score === null || particle.score === undefined ? "–" : number(particle.score, 2)}</td><td><${Physics} consistency=${particle.consistency} /></td></tr>`;
        })}</tbody></table></div>`}`}
  </${Card}>`;
}

/** What most of the field holds. */
function sceneWords(scene) {
  const [kind, share] = Object.entries(scene).sort((a, b) => b[1] - a[1])[0] ?? [];
  return kind ? t("now.scene", { kind: has(`scene.${kind}`) ? t(`scene.${kind}`) : kind, share: number(share * 100, 2) }) : "";
}

// -- what was counted ------------------------------------------------------------------------------------------------------

/** Concentrations with their intervals on one scale: a dot and a line each. */
function Ladder({ rows, unit }) {
  const most = Math.max(...rows.map((row) => row.high), 1e-9);
  return html`<ul class="ladder">${rows.map((row) => html`<li key=${row.label} class=${row.value === 0 ? "zero" : ""}>
    <a href=${`#/history?labels=${encodeURIComponent(row.label)}`}>${row.label}</a>
    <svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><line x1="0" x2="100" y1="5" y2="5" class="axis" /><line x1=${(100 * row.low) / most} x2=${(100 * row.high) / most} y1="5" y2="5" class="span" /><line class="dot" x1=${(100 * row.value) / most} x2=${(100 * row.value) / most} y1="1" y2="9" /></svg>
    <span class="value">${number(row.value)}</span><span class="spread">${t("figure.interval", { low: number(row.low), high: number(row.high) })}</span></li>`)}</ul>
    <p class="muted small-text">${t("now.ladder", { unit: unitText(unit) })}</p>`;
}

function Counted({ interval }) {
  if (!interval) return html`<${Card} id="counted" title=${t("now.counted")}><${Empty} title=${t("now.no-interval")}><p>${t("now.no-interval-why")}</p></${Empty}></${Card}>`;
  const concentration = interval.concentration ?? {};
  const total = concentration.total;
  const rows = Object.entries(concentration).filter(([label]) => label !== "total").map(([label, c]) => ({ label, ...c })).sort((a, b) => b.value - a.value || a.label.localeCompare(b.label));
  const looked = interval.volume_m3 ?? interval.volume_ml;
  const unit = interval.volume_m3 !== null && interval.volume_m3 !== undefined ? "m3" : "mL";
  const lasted = (Date.parse(interval.ended_at) - Date.parse(interval.started_at)) / 1000;
  return html`<${Card} id="counted" title=${t("now.counted")} aside=${html`<${Qc} flag=${interval.qc} />`}>
    <dl class="figures">
      ${total ? html`<${Figure} big label=${t("figure.concentration")} what="concentration" field="interval.concentration" value=${total.value} unit=${total.unit} low=${total.low} high=${total.high} />`
        : html`<${Figure} big label=${t("figure.concentration")} what="concentration" text="–" note=${t(looked ? "now.not-analysed" : "now.no-volume")} />`}
      <${Figure} label=${t("figure.count")} what="count" field="interval.counts" value=${interval.counts?.total?.n} low=${interval.counts?.total?.low} high=${interval.counts?.total?.high} />
      <${Figure} label=${t("figure.volume")} what="volume" field=${unit === "m3" ? "interval.volume_m3" : "interval.volume_ml"} text=${volume(looked, unit)} note=${typeof interval.volume_uncertainty === "number" ? `± ${unit === "m3" && looked < 0.1 ? quantity(interval.volume_uncertainty * 1000, "L", 2) : quantity(interval.volume_uncertainty, unit, 2)}` : ""} />
      <${Figure} label=${t("figure.dead-time")} what="dead-time" field="interval.dead_time_s" text=${span(interval.dead_time_s)} note=${t("now.of", { span: span(lasted) })} />
    </dl>
    ${interval.dose && html`<dl class="figures"><${Figure} label=${t("figure.dose")} what="dose" field="interval.dose" value=${interval.dose.value} unit=${interval.dose.unit} low=${interval.dose.low} high=${interval.dose.high ?? undefined} note=${interval.dose.kind === "measured" ? "" : interval.dose.kind} /></dl>`}
    ${rows.length > 0 && html`<${Ladder} rows=${rows} unit=${rows[0].unit} />`}
    <p class="muted small-text">${t("now.interval")} <${Time} at=${interval.started_at} seconds /> – <${Time} at=${interval.ended_at} seconds /> (<${Ago} at=${interval.ended_at} />)</p>
    ${(interval.reasons ?? []).length > 0 && html`<details><summary>${t("now.reasons")}</summary><ul class="reasons" lang="en">${interval.reasons.map((reason) => html`<li key=${reason}>${reason}</li>`)}</ul></details>`}
  </${Card}>`;
}

// -- the parts, as they acknowledged ---------------------------------------------------------------------------------------

function Part({ name, part, words }) {
  const known = part !== null && part !== undefined;
  const certain = known && part.acknowledged !== false;
  return html`<div class="part" data-part=${name}><dt><${Explained} what=${name}>${t(`part.${name}`)}</${Explained}></dt>
    <dd><strong>${known ? words(part) : t("part.not-known")}</strong><span class=${certain ? "muted" : "warn"}>${!known ? "" : certain ? t("part.acknowledged") : t("part.not-acknowledged")}</span></dd></div>`;
}

function lampWords(lamp) {
  const current = lamp.current_ma ?? 0;
  return lamp.on || current > 0 ? t("part.on", { what: current > 0 ? quantity(current, "mA") : "" }) : t("part.off");
}
const pumpWords = (pump) => (pump.flow_ml_min > 0 ? t("part.on", { what: pump.flow_ml_min >= 10_000 ? quantity(pump.flow_ml_min / 1000, "L/min") : quantity(pump.flow_ml_min, "mL/min") }) : t("part.off"));

/** The last frame, and whether a real camera gives any. */
function Camera({ frame, figures }) {
  const lost = figures?.state && figures.state !== "running" && figures.state !== "closed";
  return html`<div class="part" data-part="camera"><dt><${Explained} what="camera" field="state.camera">${t("part.camera")}</${Explained}></dt>
    <dd><strong>${lost ? t("camera.lost") : frame ? html`${t("camera.frame", { n: number(frame.frame) })} <${Ago} at=${frame.taken_at} />` : t(isFar() ? "part.not-known" : "camera.none")}</strong>
      ${frame && html`<span class="muted">${quantity(frame.exposure_us, "us")}, ${t(frame.lamp_on ? "camera.lit" : "camera.unlit")}</span>`}</dd></div>`;
}

function Parts({ state }) {
  const { link } = state;
  const waiting = state.stats?.outbox_depth;
  return html`<${Card} id="parts" title=${t("now.parts")}><dl class="parts">
    <${Part} name="lamp" part=${state.lamp} words=${lampWords} /><${Part} name="pump" part=${state.pump} words=${pumpWords} /><${Camera} frame=${state.camera} figures=${state.stats?.camera} />
    <div class="part" data-part="link"><dt><${Explained} what="link" field="state.link">${t("part.link")}</${Explained}></dt><dd><strong>${has(`broker.${link}`) ? t(`broker.${link}`) : link}</strong>
      ${typeof waiting === "number" && html`<span class="muted">${t("now.waiting", { n: waiting })}</span>`}</dd></div></dl></${Card}>`;
}

export function Now() {
  const { state, look, link } = useStore(live);
  useStore(session);
  if (!state) return link === "lost" ? html`<${Empty} title=${t("now.nothing-known")} />` : html`<${Loading} what=${t("now.connecting")} />`;
  return html`<div class="now"><div class="head"><${FirstLine} state=${state} /><${Notes} /></div>${isFar() ? html`<p class="muted">${t("now.far")}</p>` : html`<${Look} id=${look?.id} link=${link} doing=${state.doing} />`}
    <div class="side"><${Counted} interval=${state.last_interval} /><${Parts} state=${state} /></div></div>`;
}

