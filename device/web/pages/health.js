// How the box does: worst first, the remedy beside it, how far the optics are from what they were.
import { html, useStore } from "./dom.js";
import { listOf, useAnswer } from "./api.js";
import { day as dayOf, number, percent, span, unitText } from "./format.js";
import { has, t } from "./i18n.js";
import { live } from "./live.js";
import { Ago, Badge, Card, Empty, Explained, Figure, Icon, Loading, Sight, Time } from "./parts.js";

const ORDER = { failed: 0, warning: 1, "not evaluated": 2, ok: 3 };
const nameOf = (name) => (has(`check.${name}`) ? t(`check.${name}`) : name.replaceAll("_", " "));

function CheckRow({ check }) {
  const bad = check.status === "failed" || check.status === "warning";
  return html`<li class=${`check-row ${check.status.replace(" ", "-")}`} data-check=${check.name}><${Badge} status=${check.status} />
    <div><p class="check-head"><strong><${Explained} what="check" field="check.status">${nameOf(check.name)}</${Explained}></strong>
      ${check.value !== null && check.value !== undefined && html`<span class="value">${typeof check.value === "number" ? number(check.value) : check.value}${check.unit && `\u202f${unitText(check.unit)}`}</span>`}</p>
      ${check.message && html`<p lang="en">${check.message}</p>`}
      ${bad && html`<p class="remedy"><${Icon} name="manual" /><span><strong>${t("health.remedy")}</strong> ${check.remedy ? html`<span lang="en">${check.remedy}</span>` : t("health.no-remedy")}</span></p>`}</div></li>`;
}

function Checks({ health }) {
  const checks = [...health.checks].sort((a, b) => ORDER[a.status] - ORDER[b.status]);
  const bad = checks.filter((check) => ORDER[check.status] < 2), rest = checks.filter((check) => ORDER[check.status] >= 2);
  return html`<${Card} id="checks" title=${t("health.checks")} aside=${html`<p class="muted">${t("health.looked")} <${Ago} at=${health.at} /></p>`}>
    ${bad.length ? html`<ul class="check-list">${bad.map((check) => html`<${CheckRow} key=${check.name} check=${check} />`)}</ul>` : html`<p class="all-well"><${Icon} name="ok" /> ${t("health.all-well", { n: rest.filter((check) => check.status === "ok").length })}</p>`}
    <h3>${t("health.others")}</h3><ul class="check-list quiet">${rest.map((check) => html`<${CheckRow} key=${check.name} check=${check} />`)}</ul></${Card}>`;
}

const DAY_MS = 86_400_000, LEAST_DAYS = 14;
const WIDE = 400, HIGH = 64;

/** One figure day by day: the baseline as a line, what is allowed as a band, a day that nobody looked as a gap. */
function Days({ figure, first, last }) {
  const { allowed, days } = figure;
  const most = Math.max(1.25 * allowed, ...days.map(([, value]) => Math.abs(value)));
  const x = (date) => 6 + ((WIDE - 12) * (Date.parse(date) - first)) / (last - first), y = (value) => HIGH / 2 - ((HIGH / 2 - 4) * value) / most;
  const runs = [];
  days.forEach(([date, value], k) => {
    if (k === 0 || Date.parse(date) - Date.parse(days[k - 1][0]) > 1.5 * DAY_MS) runs.push([]);
    runs.at(-1).push(`${x(date).toFixed(1)},${y(value).toFixed(1)}`);
  });
  const [newest, value] = days.at(-1) ?? [];
  const sign = (share) => `${share > 0 ? "+" : ""}${percent(share)}`;
  return html`<li><p class="check-head"><strong><${Explained} what=${`optics-${figure.name}`} field=${`optics.${figure.name}`}>${t(`optics.${figure.name}`)}</${Explained}></strong>
      <span class="value">${days.length ? sign(value) : t("health.none-yet")}</span>${figure.drifting_since && html`<${Badge} status="warning">${t("health.drifting")} <${Time} at=${figure.drifting_since} date="always" /></${Badge}>`}</p>
    ${days.length > 0 && html`<svg viewBox=${`0 0 ${WIDE} ${HIGH}`} preserveAspectRatio="none" role="img" aria-label=${t("health.days-alt", { n: days.length, from: dayOf(days[0][0]), until: dayOf(newest), first: sign(days[0][1]), last: sign(value), allowed: percent(allowed) })}>
      <rect x="0" width=${WIDE} y=${y(figure.worse === -1 ? most : allowed)} height=${y(figure.worse === 1 ? -most : -allowed) - y(figure.worse === -1 ? most : allowed)} class="allowed" /><line x1="0" x2=${WIDE} y1=${y(0)} y2=${y(0)} class="axis" />
      ${runs.map((run) => html`<polyline points=${run.length > 1 ? run.join(" ") : `${run[0]} ${run[0]}`} class="days" />`)}</svg>`}
    ${figure.drifting_since && html`<p class="remedy" lang="en">${figure.remedy}</p>`}</li>`;
}

/** The last two months against commissioning; a few figures on one axis of days. */
function TrendDays() {
  const answer = useAnswer("/api/health/trend", { everyS: 300 });
  return html`<${Card} id="days" title=${t("health.days")} aside=${html`<${Explained} what="trend">${t("health.what-trend")}</${Explained}>`}>
    <${Sight} of=${answer} empty=${(value) => (listOf(value, "figures").some((one) => one.days.length) ? null : html`<${Empty} title=${t("health.no-days")}><p>${t("health.no-baseline-why")}</p></${Empty}>`)}>${(value) => {
      const figures = listOf(value, "figures"), dates = figures.flatMap((one) => one.days.map(([date]) => Date.parse(date)));
      const last = Math.max(...dates), first = Math.min(...dates, last - (LEAST_DAYS - 1) * DAY_MS);
      return html`<ul class="trend-days">${figures.map((one) => html`<${Days} key=${one.name} figure=${one} first=${first} last=${last} />`)}</ul>
        <p class="days-axis muted small-text"><span>${dayOf(first)}</span><span>${dayOf(last)}</span></p><p class="muted small-text">${t("health.days-legend")}</p>`;
    }}</${Sight}></${Card}>`;
}

function Figures({ state }) {
  const { stats } = state;
  if (!stats) return html`<${Card} id="figures" title=${t("health.figures")}><${Empty} title=${t("health.no-stats")}><p>${t("health.no-stats-why")}</p></${Empty}></${Card}>`;
  const environment = stats.environment ?? {};
  const some = (name, unit, digits) => environment[name] !== null && environment[name] !== undefined && html`<${Figure} label=${t(`environment.${name}`)} what=${name} field=${`environment.${name}`} value=${environment[name]} unit=${unit} digits=${digits} />`;
  return html`<${Card} id="figures" title=${t("health.figures")}><dl class="figures">
    <${Figure} label=${t("health.uptime")} what="uptime" field="stats.uptime_s" text=${span(stats.uptime_s)} note=${html`${t("health.since")} <${Time} at=${state.started_at} />`} />
    <${Figure} label=${t("health.intervals")} what="interval" field="stats.intervals" value=${stats.intervals} /><${Figure} label=${t("health.detections")} what="detection" field="stats.detections" value=${stats.detections} />
    <${Figure} label=${t("health.lost")} what="lost" field="stats.intervals_lost" value=${stats.intervals_lost} />
    <${Figure} label=${t("health.waiting")} what="outbox" field="stats.outbox_depth" value=${stats.outbox_depth} note=${stats.oldest_waiting_s !== null && stats.oldest_waiting_s !== undefined ? t("health.oldest", { span: span(stats.oldest_waiting_s) }) : ""} />
    <${Figure} label=${t("health.analysis")} what="analysis" field="stats.last_analysis_s" text=${span(stats.last_analysis_s)} />
    <${Figure} label=${t("health.clock")} what="clock" field="stats.clock" text=${stats.clock ? t(stats.clock.synchronised ? "clock.right" : "clock.unsure") : "–"} note=${stats.clock ? `${stats.clock.source}, ± ${span(stats.clock.uncertainty_s)}` : ""} />
    ${some("temperature_c", "degC", 3)}${some("humidity_percent", "%", 2)}${some("pressure_hpa", "hPa", 4)}${some("supply_v", "V", 3)}</dl>
    ${stats.environment === null && html`<p class="muted">${t("health.no-environment")}</p>`}</${Card}>`;
}

export function Health() {
  const { state } = useStore(live);
  if (!state) return html`<${Loading} />`;
  return html`<div class="health">${state.health ? html`<${Checks} health=${state.health} />` : html`<${Card}><${Empty} title=${t("health.none")}><p>${t("health.none-why")}</p></${Empty}></${Card}>`}
    <div class="grid-2"><${TrendDays} /><${Figures} state=${state} /></div></div>`;
}
