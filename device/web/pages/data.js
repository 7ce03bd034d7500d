// What can be taken away: what was counted as tables, archives in the formats of others, what a helper needs.
import { html, useState, useStore } from "./dom.js";
import { ask, listOf, mayOperate, query, session, useAnswer } from "./api.js";
import { bytes, fromLocalInput, toLocalInput, utc } from "./format.js";
import { has, t } from "./i18n.js";
import { Badge, Card, Empty, Explained, Failed, OperatorsOnly, Sight, Time, request, say, words } from "./parts.js";

const FORMATS = ["csv", "parquet", "netcdf", "ecotaxa", "darwincore", "influx", "bundle"];
const DAY = 86_400_000, MINUTE = 60_000;

/** Two times that a form asks for; to the minute, so that the one that goes on is in it. */
function usePeriod(days) {
  const [from, setFrom] = useState(() => toLocalInput(Date.now() - days * DAY)), [until, setUntil] = useState(() => toLocalInput(Date.now() + MINUTE));
  const wrong = !(fromLocalInput(until) > fromLocalInput(from));
  const fields = (id) => html`<div class="period"><label for=${`${id}-from`}>${t("history.from")}</label><input id=${`${id}-from`} type="datetime-local" value=${from} aria-invalid=${wrong ? "true" : undefined} onInput=${(event) => setFrom(event.target.value)} />
    <label for=${`${id}-to`}>${t("history.to")}</label><input id=${`${id}-to`} type="datetime-local" value=${until} aria-invalid=${wrong ? "true" : undefined} onInput=${(event) => setUntil(event.target.value)} />${wrong && html`<p class="warn" role="alert">${t("history.backwards")}</p>`}</div>`;
  return { fields, wrong, since: wrong ? null : utc(fromLocalInput(from)), until: wrong ? null : utc(fromLocalInput(until)) };
}

function Tables() {
  const period = usePeriod(1);
  return html`<${Card} id="tables" title=${t("data.tables")}><p>${t("data.tables-why")}</p>${period.fields("table")}
    <p class="controls">${["series", "intervals", "particles"].map((what) => (period.wrong ? html`<span key=${what} class="muted">${t(`download.${what}`)}</span>` : html`<a key=${what} role="button" class="secondary outline small" href=${query("/api/history/download", { what, since: period.since, until: period.until, format: "csv" })} download>${t(`download.${what}`)}</a>`))}</p></${Card}>`;
}

function Exports() {
  const answer = useAnswer(mayOperate() ? "/api/exports" : null, { everyS: 3 });
  const period = usePeriod(7);
  const [format, setFormat] = useState(FORMATS[0]);
  const [error, setError] = useState(null);
  useStore(session);
  async function send(event) {
    event.preventDefault();
    setError(null);
    try { await ask("/api/exports", { method: "POST", body: { format, since: period.since, until: period.until } }); say(t("data.export-begun")); answer.again(); } catch (problem) { setError(problem); }
  }
  const state = (one) => one.status ?? one.state ?? "";
  return html`<${Card} id="exports" title=${t("data.exports")} aside=${html`<${Explained} what="export">${t("data.what-export")}</${Explained}>`}>
    ${mayOperate() ? html`<form onSubmit=${send}><label for="format">${t("data.format")}</label><select id="format" value=${format} onChange=${(event) => setFormat(event.target.value)}>${(answer.value?.formats ?? FORMATS).map((one) => html`<option key=${one} value=${one}>${has(`format.${one}`) ? t(`format.${one}`) : one}</option>`)}</select>
      ${period.fields("export")}${error && html`<${Failed} error=${error} />`}<button type="submit" disabled=${period.wrong}>${t("data.make")}</button></form>` : html`<${OperatorsOnly} />`}
    ${mayOperate() && html`<h3>${t("data.made")}</h3><${Sight} of=${answer} empty=${(value) => (listOf(value, "exports").length ? null : html`<p class="muted">${t("data.none")}</p>`)}>${(value) => html`<ul class="plain-list exports">${listOf(value, "exports").map((one) => html`<li key=${one.id}><strong>${one.format}</strong> <${Badge} status=${{ done: "ok", ready: "ok", failed: "failed" }[state(one)] ?? "unknown"}>${has(`export.${state(one)}`) ? t(`export.${state(one)}`) : state(one)}</${Badge}>
      ${(one.since || one.until) && html`<span class="muted"><${Time} at=${one.since} date="always" /> – <${Time} at=${one.until} date="always" /></span>`} ${typeof one.bytes === "number" && html`<span class="muted">${bytes(one.bytes)}</span>`}
      ${["done", "ready"].includes(state(one)) && html`<a href=${`/api/exports/${encodeURIComponent(one.id)}/file`} download>${t("data.download")}</a>`}${one.error && html`<p class="warn" lang="en">${one.error.message ?? String(one.error)}</p>`}</li>`)}</ul>`}</${Sight}>`}</${Card}>`;
}

function Support() {
  const [made, setMade] = useState(null), [busy, setBusy] = useState(false);
  useStore(session);
  const make = async () => { setBusy(true); const answer = await request("support_bundle"); setBusy(false); if (answer?.data) setMade(answer.data); };
  return html`<${Card} id="support" title=${t("data.support")}><p>${t("data.support-why")}</p>
    <${OperatorsOnly}><p><button type="button" class="secondary" disabled=${busy} aria-busy=${busy} onClick=${make}>${t("data.support-make")}</button></p></${OperatorsOnly}>
    ${made && html`<p>${t("data.support-made")} <code>${made.file}</code>${typeof made.bytes === "number" && ` (${bytes(made.bytes)})`} ${made.id && html`<a href=${`/api/exports/${encodeURIComponent(made.id)}/file`} download>${t("data.download")}</a>`}</p>`}</${Card}>`;
}

export function Data() {
  return html`<div class="data grid-2"><div><${Tables} /><${Support} /></div><${Exports} /></div>`;
}
