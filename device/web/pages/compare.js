// Two or more boxes, one class, one period, on one axis; where nobody looked there is no line.
import { html, route, to, useEffect, useMemo, useRef, useState, useStore } from "./dom.js";
import { ask, listOf, query, useAnswer } from "./api.js";
import { boxNow, number, quantity, span, unitText, utc, volume } from "./format.js";
import { language, t } from "./i18n.js";
import { Chart, PIXELS_PER_POINT, SERIES_COLOURS, ended } from "./chart.js";
import { columns, withEdges } from "./history.js";
import { Card, Choice, Empty, Failed, Loading } from "./parts.js";

const DAY = 86_400_000;
const RANGES = { "1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "180d": 180 * DAY };
const TOTAL = "total";

/** Answers of several paths, each its own: {value} or {error}; null: not there yet. */
function useAnswers(paths) {
  const [held, set] = useState({ key: null });
  const key = paths.join(" ");
  useEffect(() => {
    if (!paths.length) return undefined;
    const stop = new AbortController();
    Promise.allSettled(paths.map((path) => ask(path, { signal: stop.signal }))).then((all) => {
      if (!stop.signal.aborted) set({ key, answers: all.map((one) => (one.status === "fulfilled" ? { value: one.value } : { error: one.reason })) });
    });
    return () => stop.abort();
  }, [key]);
  return paths.length && held.key === key ? held.answers : null;
}

/** Times that are in all of these lists of [from, until]. */
const inAll = (lists) => lists.reduce((some, list) => some.flatMap(([a, b]) => list.map(([c, d]) => [Math.max(a, c), Math.min(b, d)]).filter(([from, until]) => until > from)));

/** Curves of several boxes on one axis: every time of any, null where a line ends. */
function merged(all) {
  const x = [...new Set(all.flatMap(({ found }) => found.x))].sort((a, b) => a - b);
  const place = new Map(x.map((value, k) => [value, k]));
  const spread = (from, values) => { const row = new Array(x.length).fill(undefined); values.forEach((value, k) => { row[place.get(from[k])] = value; }); return ended(row); };
  return { x, rows: all.map(({ device, found }) => ({ label: device, value: spread(found.x, found.rows[0].value), low: spread(found.x, found.rows[0].low), high: spread(found.x, found.rows[0].high) })) };
}

function Curves({ all, label, period, width }) {
  const drawn = useMemo(() => {
    const some = all.map(({ device, value }) => ({ device, found: columns(value, [label]) }));
    return { ...merged(some), gaps: inAll(some.map(({ found }) => (found.first === null ? [[period.since / 1000, period.until / 1000]] : withEdges(found, period.since, period.until)))) };
  }, [all, label, width]);
  return html`<${Chart} label=${t("compare.curve-alt", { label: label === TOTAL ? t("label.total") : label, boxes: all.map(({ device }) => device).join(", ") })} x=${drawn.x} rows=${drawn.rows} gaps=${drawn.gaps} range=${[period.since / 1000, period.until / 1000]} height=${300} />
    <ul class="legend"><li><span class="ring" aria-hidden="true"></span>${t("legend.zero")}</li><li><span class="hatched" aria-hidden="true"></span>${t("compare.gap")}</li><li><span class="band" aria-hidden="true"></span>${t("legend.band")}</li></ul>`;
}

/** What each box counted in all of the period, with the same colours. */
function Sums({ chosen, sums, label, other }) {
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${t("compare.sums")}><table class="compared"><thead><tr><th scope="col">${t("fleet.device")}</th><th scope="col">${label === TOTAL ? t("label.total") : label}</th><th scope="col">${t("compare.counted")}</th><th scope="col">${t("figure.volume")}</th><th scope="col">${t("figure.dead-time")}</th></tr></thead><tbody>
    ${chosen.map((device, k) => {
      const { value, error } = sums[k];
      const b = listOf(value, "points").reduce((most, point) => (point.intervals > (most?.intervals ?? 0) ? point : most), undefined);
      const c = b?.concentration?.[label];
      return html`<tr key=${device} data-compared=${device}><th scope="row"><span class=${`key key-${(k % SERIES_COLOURS) + 1}`} aria-hidden="true"></span><a href=${`/boxes/${device}#/history`}>${device}</a></th>
        ${error ? html`<td colspan="4" class="warn">${error.message}</td>` : !b?.looked ? html`<td colspan="4" class="muted">${t("history.nobody-looked")}</td>` : html`<td>${c ? html`${quantity(c.value, c.unit)} ${t("figure.interval", { low: number(c.low), high: number(c.high) })}` : t("history.no-figure")}${other.includes(device) ? html` <span class="muted">${t("compare.other-unit")}</span>` : ""}</td><td>${number(b.counts?.[label] ?? 0)}</td><td>${volume(b.volume, value.unit)}</td><td>${span(b.dead_time_s ?? 0)}</td>`}</tr>`;
    })}</tbody></table></div>`;
}

export function Compare() {
  useStore(language);
  const { query: asked } = useStore(route);
  const answer = useAnswer("/api/boxes");
  const frame = useRef();
  const [width, setWidth] = useState(0);
  const [now] = useState(() => Math.ceil(boxNow() / 60_000) * 60_000);
  useEffect(() => { setWidth(frame.current?.clientWidth ?? 0); }, [answer.sight]);
  const known = listOf(answer.value, "boxes").map((box) => box.device_id).sort();
  const named = (asked.get("boxes") ?? "").split(",").filter((device) => known.includes(device));
  const chosen = (named.length ? named : known.slice(0, 2)).slice(0, SERIES_COLOURS);
  const label = asked.get("label") ?? TOTAL;
  const range = asked.get("range") in RANGES ? asked.get("range") : "7d";
  const period = { since: now - RANGES[range], until: now };
  const path = (device, points, labels) => query(`/boxes/${device}/api/history/series`, { since: utc(period.since), until: utc(period.until), points, labels });
  const points = width ? Math.max(40, Math.round((width - 80) / PIXELS_PER_POINT)) : null;
  const series = useAnswers(points ? chosen.map((device) => path(device, points, label)) : []);
  const sums = useAnswers(points ? chosen.map((device) => path(device, 1)) : []);
  const go = (changes) => { location.hash = to("compare", { boxes: chosen.join(","), label, range, ...changes }); };
  const choose = (device, on) => go({ boxes: (on ? [...chosen, device].slice(-SERIES_COLOURS) : chosen.filter((one) => one !== device)).join(",") });
  const labels = [...new Set([TOTAL, label, ...(sums ?? []).flatMap((one) => one.value?.labels ?? [])])];
  const there = (series ?? []).map((one, k) => ({ ...one, device: chosen[k] })).filter((one) => listOf(one.value, "points").length);
  const unit = there[0]?.value.unit;
  // Of another unit: it has no place on this axis, and is in the table.
  const other = there.filter((one) => one.value.unit !== unit).map((one) => one.device);
  const same = useMemo(() => there.filter((one) => one.value.unit === unit), [series]);
  if (answer.sight === "failed") return html`<${Failed} error=${answer.error} again=${answer.again} />`;
  if (answer.sight === "loading") return html`<${Loading} />`;
  if (!known.length) return html`<${Card}><${Empty} title=${t("fleet.none")} /></${Card}>`;
  return html`<div class="fleet"><${Card} id="compare" title=${t("page.compare")}><div class="history-controls">
    <${Choice} name="range" legend=${t("history.range")} value=${range} onChange=${(key) => go({ range: key })} options=${Object.keys(RANGES).map((key) => [key, t(`range.${key}`)])} />
    <label class="inline">${t("compare.class")} <select value=${label} onChange=${(event) => go({ label: event.target.value })}>${labels.map((one) => html`<option key=${one} value=${one}>${one === TOTAL ? t("label.total") : one}</option>`)}</select></label>
    <fieldset class="labels"><legend>${t("compare.boxes", { n: SERIES_COLOURS })}</legend>${known.map((device) => html`<label key=${device} class="check"><input type="checkbox" checked=${chosen.includes(device)} onChange=${(event) => choose(device, event.target.checked)} />
      <span class=${chosen.includes(device) ? `key key-${chosen.indexOf(device) + 1}` : "key"} aria-hidden="true"></span>${device}</label>`)}</fieldset></div>
    <div ref=${frame} class="plot-frame">${!series ? html`<${Loading} />` : same.length ? html`<p class="axis-title">${t("figure.concentration")} (${unitText(unit === "m^3" ? "m^-3" : "mL^-1")})</p><${Curves} all=${same} label=${label} period=${period} width=${width} />` : html`<${Empty} title=${t("compare.none")} />`}</div>
    ${sums && html`<${Sums} chosen=${chosen} sums=${sums} label=${label} other=${other} />`}</${Card}></div>`;
}
