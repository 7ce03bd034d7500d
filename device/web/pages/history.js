// What was seen over time: what was looked at and empty apart from what nobody looked at, the volume and dead time under it.
import { html, route, to, useEffect, useMemo, useRef, useState, useStore } from "./dom.js";
import { listOf, query, useAnswer } from "./api.js";
import { ago, boxNow, clock, fromLocalInput, number, quantity, span, toLocalInput, unitText, utc, volume } from "./format.js";
import { t } from "./i18n.js";
import { live } from "./live.js";
import { Chart, PIXELS_PER_POINT, SERIES_COLOURS, ended } from "./chart.js";
import { Card, Choice, Empty, Explained, Figure, Qc, Severity, Share, Sight, Time } from "./parts.js";

const HOUR = 3_600_000, DAY = 24 * HOUR;
const RANGES = { "15min": HOUR / 4, "1h": HOUR, "1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "180d": 180 * DAY };
const LONGEST = 3660 * DAY;
const COMPARED = { before: null, week: 7 * DAY, year: 364 * DAY };

/** How much earlier the other period begins, ms; null: there is none. `against` names one, or is a time. */
function shiftOf(against, period) {
  if (!against) return null;
  if (against in COMPARED) return COMPARED[against] ?? period.until - period.since;
  const from = Date.parse(against);
  return Number.isFinite(from) && from !== period.since ? period.since - from : null;
}
const TOTAL = "total";

/** The period that the address asks for, ms; a range without an end ends now, to the minute. */
function periodOf(asked, now) {
  const since = Date.parse(asked.get("since") ?? ""), until = Date.parse(asked.get("until") ?? "");
  if (Number.isFinite(since) && Number.isFinite(until) && until > since) return { since: Math.max(since, until - LONGEST), until, range: null };
  const range = asked.get("range") in RANGES ? asked.get("range") : "1d";
  return { since: now - RANGES[range], until: now, range };
}

/** The address with another period or choice; what isn't named stays. */
function address(asked, changes) {
  const all = { range: asked.get("range"), since: asked.get("since"), until: asked.get("until"), labels: asked.get("labels"), against: asked.get("against"), ...changes };
  return to("history", all);
}
const go = (asked, changes) => { location.hash = address(asked, changes); };

/** From one beginning to the next, as a rule, ms: what is much longer is a gap, what is shorter the rhythm of the schedule. */
function rhythm(starts) {
  const steps = starts.slice(1).map((start, k) => start - starts[k]).sort((a, b) => a - b);
  return steps.length ? steps[Math.floor(steps.length / 2)] : Infinity;
}

/** An answer of series as columns: x in s, and per label value, low, high; shifted by so many ms. */
export function columns(answer, labels, shiftMs = 0) {
  const points = listOf(answer, "points");
  const starts = points.map((point) => Date.parse(point.start) + shiftMs), ends = points.map((point) => Date.parse(point.end) + shiftMs);
  const longest = 1.9 * rhythm(starts);
  const kept = [], x = [], gaps = [];
  points.forEach((point, k) => {
    if (k > 0 && starts[k] - starts[k - 1] > longest && starts[k] - ends[k - 1] > 1500) {
      // Nothing between the two: the line ends, the gap is hatched.
      kept.push(null);
      x.push((ends[k - 1] + starts[k]) / 2000);
      gaps.push([ends[k - 1] / 1000, starts[k] / 1000]);
    }
    kept.push(point);
    x.push((starts[k] + ends[k]) / 2000);
    if (point.looked === 0) gaps.push([starts[k] / 1000, ends[k] / 1000]);
  });
  const of = (bucket, label) => (bucket === null || bucket.looked === 0 ? null : bucket.concentration?.[label] ?? null);
  const rows = labels.map((label) => ({
    label, value: kept.map((b) => of(b, label)?.value ?? null), low: kept.map((b) => of(b, label)?.low ?? null), high: kept.map((b) => of(b, label)?.high ?? null),
  }));
  return { x, kept, rows, gaps, first: starts[0] ?? null, last: ends.length ? Math.max(...ends) : null, step: ends.length ? ends[0] - starts[0] : 0 };
}

/** The edges of a period that hold nothing are gaps, too. */
export function withEdges(found, since, until) {
  const gaps = [...found.gaps];
  const edge = Math.max(1500, (until - since) / 300);
  if (found.first !== null && found.first - since > edge) gaps.unshift([since / 1000, found.first / 1000]);
  if (found.last !== null && until - found.last > edge) gaps.push([found.last / 1000, until / 1000]);
  return gaps;
}

function Controls({ asked, period, labels, known }) {
  const { since, until, range } = period;
  const width = until - since;
  const [own, setOwn] = useState(false);
  const against = asked.get("against") ?? "";
  const shift = (by) => go(asked, { range: null, since: utc(since + by), until: utc(Math.min(until + by, Date.now() + DAY)) });
  const zoom = (by) => { const middle = (since + until) / 2, half = Math.min(LONGEST, Math.max(60_000, width * by)) / 2; go(asked, { range: null, since: utc(middle - half), until: utc(middle + half) }); };
  const choose = (label, on) => {
    const next = on ? [...labels, label].slice(-SERIES_COLOURS) : labels.filter((one) => one !== label);
    go(asked, { labels: next.join(",") || TOTAL });
  };
  return html`<div class="history-controls">
    <${Choice} name="range" legend=${t("history.range")} value=${range ?? "own"} onChange=${(key) => (key === "own" ? setOwn(true) : go(asked, { range: key, since: null, until: null }))}
      options=${[...Object.keys(RANGES).map((key) => [key, t(`range.${key}`)]), ["own", t("range.own")]]} />
    <div class="buttons" role="toolbar" aria-label=${t("history.move")}>
      <button type="button" class="secondary outline small" onClick=${() => shift(-width)}>${t("history.earlier")}</button>
      <button type="button" class="secondary outline small" disabled=${until >= boxNow() - 60_000} onClick=${() => shift(width)}>${t("history.later")}</button>
      <button type="button" class="secondary outline small" onClick=${() => zoom(0.5)}>${t("history.closer")}</button>
      <button type="button" class="secondary outline small" onClick=${() => zoom(2)}>${t("history.wider")}</button></div>
    ${(own || range === null) && html`<${OwnPeriod} asked=${asked} since=${since} until=${until} />`}
    <fieldset class="labels"><legend>${t("history.labels")}</legend>${known.map((label) => html`<label key=${label} class="check"><input type="checkbox" checked=${labels.includes(label)} onChange=${(event) => choose(label, event.target.checked)} />
      <span class=${labels.includes(label) ? `key key-${(labels.indexOf(label) % SERIES_COLOURS) + 1}` : "key"} aria-hidden="true"></span>${label === TOTAL ? t("label.total") : label}</label>`)}</fieldset>
    <div class="against"><label class="inline">${t("history.against")} <select value=${against && !(against in COMPARED) ? "own" : against} onChange=${(event) => go(asked, { against: event.target.value === "own" ? utc(since - width) : event.target.value })}>
      <option value="">${t("against.none")}</option>${[...Object.keys(COMPARED), "own"].map((key) => html`<option key=${key} value=${key}>${t(`against.${key}`)}</option>`)}</select></label>
      ${against && !(against in COMPARED) && html`<label class="inline">${t("history.against-from")} <input type="datetime-local" value=${toLocalInput(Number.isFinite(Date.parse(against)) ? Date.parse(against) : since - width)} onChange=${(event) => { const from = fromLocalInput(event.target.value); if (Number.isFinite(from)) go(asked, { against: utc(from) }); }} /></label>`}</div>
  </div>`;
}

function OwnPeriod({ asked, since, until }) {
  const [from, setFrom] = useState(toLocalInput(since)), [to_, setTo] = useState(toLocalInput(until));
  useEffect(() => { setFrom(toLocalInput(since)); setTo(toLocalInput(until)); }, [since, until]);
  const wrong = !(fromLocalInput(to_) > fromLocalInput(from)) ? t("history.backwards") : fromLocalInput(to_) - fromLocalInput(from) > LONGEST ? t("history.too-long") : null;
  const send = (event) => { event.preventDefault(); if (!wrong) go(asked, { range: null, since: utc(fromLocalInput(from)), until: utc(fromLocalInput(to_)) }); };
  return html`<form class="own-period" onSubmit=${send}><label>${t("history.from")} <input type="datetime-local" value=${from} aria-invalid=${wrong ? "true" : undefined} onInput=${(event) => setFrom(event.target.value)} /></label>
    <label>${t("history.to")} <input type="datetime-local" value=${to_} aria-invalid=${wrong ? "true" : undefined} onInput=${(event) => setTo(event.target.value)} /></label>
    <button type="submit" class="small" disabled=${wrong !== null}>${t("history.show")}</button>${wrong && html`<p class="warn" role="alert">${wrong}</p>`}</form>`;
}

/** What was found at one place of the curve, in words. */
function Readout({ bucket, labels, index, unit, seconds }) {
  if (bucket === null) return html`<p class="readout" data-index=${index}>${t("history.nobody-looked")}</p>`;
  if (!bucket) return html`<p class="readout muted">${t("history.point")}</p>`;
  const looked = bucket.looked !== 0;
  return html`<p class="readout" data-index=${index}><strong><${Time} at=${bucket.start} seconds=${seconds} date="always" /> – <${Time} at=${bucket.end} seconds=${seconds} /></strong>
    ${!looked && html`<span>${t("history.nobody-looked")}</span>`}
    ${looked && labels.map((label) => {
      const c = bucket.concentration?.[label], n = bucket.counts?.[label];
      return html`<span key=${label}>${label === TOTAL ? t("label.total") : label}: ${c ? html`<b>${quantity(c.value, c.unit)}</b> ${t("figure.interval", { low: number(c.low), high: number(c.high) })}` : t("history.no-figure")}${n === 0 ? ` – ${t("history.zero")}` : typeof n === "number" ? ` – ${t("history.n", { n })}` : ""}</span>`;
    })}
    ${looked && html`<span>${t("figure.volume")}: ${volume(bucket.volume, unit)}</span>`}<span>${t("figure.dead-time")}: ${span(bucket.dead_time_s ?? 0)}</span>
    ${bucket.intervals !== undefined && html`<span>${t("history.intervals", { n: bucket.intervals })}</span>`} ${bucket.qc !== undefined && html`<${Qc} flag=${bucket.qc} />`}</p>`;
}

function Plots({ answer, other, period, shiftMs, labels, events, asked }) {
  const { since, until } = period;
  const [index, setIndex] = useState(null);
  const found = useMemo(() => columns(answer, labels), [answer, labels.join()]);
  const beside = useMemo(() => (other ? columns(other, labels, shiftMs) : null), [other, shiftMs, labels.join()]);
  const drawn = useMemo(() => {
    if (!beside) return { x: found.x, rows: found.rows };
    // Both on one axis: every time of either, null where the other has none.
    const x = [...new Set([...found.x, ...beside.x])].sort((a, b) => a - b);
    const place = new Map(x.map((value, k) => [value, k]));
    const spread = (from, values) => { const all = new Array(x.length).fill(undefined); values.forEach((value, k) => { all[place.get(from[k])] = value; }); return ended(all); };
    const rows = (one, of) => of.rows.map((row) => ({ label: row.label, value: spread(of.x, row.value), ...(one ? { low: spread(of.x, row.low), high: spread(of.x, row.high) } : {}) }));
    return { x, rows: [...rows(true, found), ...rows(false, beside)] };
  }, [found, beside]);
  const gaps = useMemo(() => withEdges(found, since, until), [found, since, until]);
  const range = [since / 1000, until / 1000];
  const volumes = useMemo(() => {
    const all = found.kept.map((b) => b?.volume ?? null);
    const small = answer.unit === "m^3" && Math.max(...all) < 0.1;
    return { unit: small ? "L" : answer.unit ?? "", rows: [{ label: "volume", value: small ? all.map((v) => v && v * 1000) : all }] };
  }, [found]);
  const dead = useMemo(() => [{ label: "dead", value: found.kept.map((b) => (b && b.covered_s > 0 ? (100 * (b.dead_time_s ?? 0)) / b.covered_s : null)) }], [found]);
  const some = found.kept.find((b) => b && Object.keys(b.concentration ?? {}).length);
  const unit = some ? Object.values(some.concentration)[0].unit ?? some.concentration_unit : "";
  const volumeUnit = answer.unit ?? "";
  const at = index === null ? found.kept.length - 1 : Math.min(index, drawn.x.length - 1);
  const bucket = beside && index !== null ? found.kept[found.x.indexOf(drawn.x[at])] : found.kept[at];
  const move = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    setIndex(Math.min(drawn.x.length - 1, Math.max(0, at + step)));
  };
  const zoom = (from, to_) => go(asked, { range: null, since: utc(from * 1000), until: utc(to_ * 1000) });
  const heard = (i) => i !== null && setIndex(i);
  const looked = found.kept.filter((b) => b && b.looked !== 0);
  return html`<div class="plots" tabindex="0" role="region" aria-label=${t("history.keys")} onKeyDown=${move}>
    <p class="axis-title"><${Explained} what="concentration">${t("figure.concentration")}</${Explained}> ${unit && `(${unitText(unit)})`}</p>
    <${Chart} label=${t("history.curve-alt", { n: looked.length, labels: labels.join(", ") })} x=${drawn.x} range=${range} rows=${drawn.rows} gaps=${gaps} events=${events} height=${260} sync="history" onIndex=${heard} onRange=${zoom} />
    <p class="axis-title"><${Explained} what="volume">${t("figure.volume")}</${Explained}> ${volumes.unit && `(${unitText(volumes.unit)})`}</p>
    <${Chart} label=${t("history.volume-alt")} x=${found.x} range=${range} rows=${volumes.rows} gaps=${gaps} height=${84} bars bottom=${false} sync="history" onIndex=${beside ? undefined : heard} onRange=${zoom} />
    <p class="axis-title"><${Explained} what="dead-time">${t("figure.dead-time")}</${Explained}> (%)</p>
    <${Chart} label=${t("history.dead-alt")} x=${found.x} range=${range} rows=${dead} gaps=${gaps} height=${110} bars most=${100} sync="history" onIndex=${beside ? undefined : heard} onRange=${zoom} /></div>
    <ul class="legend"><li><span class="ring" aria-hidden="true"></span>${t("legend.zero")}</li><li><span class="hatched" aria-hidden="true"></span>${t("legend.gap")}</li><li><span class="band" aria-hidden="true"></span>${t("legend.band")}</li><li><span class="mark" aria-hidden="true"></span>${t("legend.event")}</li>${beside && html`<li>${t("legend.against")}</li>`}</ul>
    <div aria-live="polite"><${Readout} bucket=${bucket} labels=${labels} index=${at} unit=${volumeUnit} seconds=${found.step < 120_000} /></div>
    <details class="as-table"><summary>${t("history.table")}</summary><${Table} kept=${found.kept} labels=${labels} unit=${volumeUnit} /></details>`;
}

const MOST_ROWS = 300;
function Table({ kept, labels, unit }) {
  const rows = kept.slice(-MOST_ROWS);
  return html`${kept.length > rows.length && html`<p class="muted">${t("history.table-short", { n: MOST_ROWS })}</p>`}<div class="scroll" tabindex="0" role="region" aria-label=${t("history.table")}><table><thead><tr><th scope="col">${t("column.from")}</th><th scope="col">${t("column.until")}</th>
    ${labels.map((label) => html`<th scope="col" key=${label}>${label === TOTAL ? t("label.total") : label}</th>`)}<th scope="col">${t("figure.volume")}</th><th scope="col">${t("figure.dead-time")}</th></tr></thead>
    <tbody>${rows.map((b, k) => (b === null ? html`<tr key=${k}><td colspan=${labels.length + 4} class="muted">${t("legend.gap")}</td></tr>` : html`<tr key=${k}><th scope="row"><${Time} at=${b.start} date="always" /></th><td><${Time} at=${b.end} /></td>
      ${labels.map((label) => { const c = b.looked === 0 ? null : b.concentration?.[label]; return html`<td key=${label}>${c ? `${number(c.value)} ${t("figure.interval", { low: number(c.low), high: number(c.high) })}` : "–"}</td>`; })}<td>${volume(b.volume, unit)}</td><td>${span(b.dead_time_s ?? 0)}</td></tr>`))}</tbody></table></div>`;
}

/** The only point of a series that was asked for in one; where a level's spans made more of them, the one that holds most. */
function wholeOf(series) {
  const points = listOf(series, "points");
  return points.reduce((most, point) => (point.intervals > (most?.intervals ?? 0) ? point : most), points[0]);
}

/** A period in one bucket: what its sums come to. */
function Sum({ title, of, labels }) {
  return html`<div class="sum"><h3>${title}</h3><${Sight} of=${of} empty=${(value) => (listOf(value, "points").length ? null : html`<p class="muted">${t("history.nobody-looked")}</p>`)}>${(value) => {
    const b = wholeOf(value);
    return html`<dl class="figures">${labels.map((label) => { const c = b.concentration?.[label]; return html`<${Figure} key=${label} what="concentration" label=${label === TOTAL ? t("label.total") : label} value=${c?.value} unit=${c?.unit} low=${c?.low} high=${c?.high} />`; })}
      <${Figure} what="volume" label=${t("figure.volume")} text=${volume(b.volume, value.unit)} /><${Figure} what="dead-time" label=${t("figure.dead-time")} text=${span(b.dead_time_s ?? 0)} /><${Figure} what="interval" label=${t("figure.intervals")} value=${b.intervals} /></dl>`;
  }}</${Sight}></div>`;
}

function Sizes({ since, until, labels, asking }) {
  const one = labels.length === 1 && labels[0] !== TOTAL ? labels[0] : undefined;
  const answer = useAnswer(query("/api/history/sizes", { since, until, label: one }), asking("sizes"));
  return html`<${Card} id="sizes" title=${t("history.sizes")} aside=${html`<${Explained} what="esd">${t("history.what-size")}</${Explained}>`}><${Sight} of=${answer} empty=${(value) => (binsOf(value).some((bin) => bin.n > 0) ? null : html`<${Empty} title=${t("history.no-sizes")} />`)}>${(value) => {
    const bins = binsOf(value), most = Math.max(...bins.map((bin) => bin.n));
    return html`<ul class="bins" aria-label=${t("history.sizes")}>${bins.map((bin) => html`<li key=${bin.low}><span class="from">${number(bin.low)}–${number(bin.high)}\u202fµm</span><${Share} of=${bin.n / most} /><span class="n">${number(bin.n)}</span></li>`)}</ul>`;
  }}</${Sight}></${Card}>`;
}

/** [{low, high, n}] in um; the empty ends are left out. */
function binsOf(answer) {
  const all = (answer?.n ?? []).map((n, k) => ({ low: answer.edges_um[k], high: answer.edges_um[k + 1], n }));
  const some = all.map((bin, k) => (bin.n > 0 ? k : -1)).filter((k) => k >= 0);
  return some.length ? all.slice(some[0], some[some.length - 1] + 1) : [];
}

function Gaps({ since, until, longerS, asking }) {
  const answer = useAnswer(query("/api/history/gaps", { since, until, longer_than_s: longerS }), asking("gaps"));
  return html`<${Card} id="gaps" title=${t("history.gaps")} aside=${html`<${Explained} what="gap">${t("history.what-gap")}</${Explained}>`}><${Sight} of=${answer} empty=${(value) => (listOf(value, "gaps").length ? null : html`<p>${t("history.no-gaps", { span: span(longerS) })}</p>`)}>${(value) => html`<ul class="plain-list">
    ${listOf(value, "gaps").slice(0, 30).map((gap) => { const from = gap.start, until_ = gap.end; return html`<li key=${from}><a href=${to("history", { since: utc(Date.parse(from) - 3_600_000), until: utc(Date.parse(until_) + 3_600_000) })}><${Time} at=${from} date="always" /> – <${Time} at=${until_} date="always" /></a> <strong>${span(gap.seconds)}</strong></li>`; })}</ul>`}</${Sight}></${Card}>`;
}

function Status() {
  const answer = useAnswer("/api/history/status", { everyS: 60 });
  const value = answer.value;
  if (!value) return null;
  const rebuilt = value.rebuilt_at && boxNow() - Date.parse(value.rebuilt_at) < 7 * DAY;
  const behind = value.behind ?? 0;
  if (!value.trouble && behind < 50 && !rebuilt) return null;
  return html`<aside class="banner warning" role="status"><p>${value.trouble && html`<strong>${t("history.damaged")}</strong> <span lang="en">${value.trouble}</span> `}
    ${behind >= 50 && html`<strong>${t("history.behind")}</strong> ${t("history.behind-by", { n: behind })} `}${rebuilt && html`<span>${t("history.rebuilt", { ago: ago(value.rebuilt_at) })}</span>`}</p></aside>`;
}

export function History() {
  const { query: asked } = useStore(route);
  const { state } = useStore(live);
  const frame = useRef();
  const [width, setWidth] = useState(0);
  const [now, setNow] = useState(() => Math.ceil(boxNow() / 60_000) * 60_000);
  useEffect(() => {
    setWidth(frame.current.clientWidth);
    const timer = setInterval(() => setNow(Math.ceil(boxNow() / 60_000) * 60_000), 60_000);
    return () => clearInterval(timer);
  }, []);
  const period = periodOf(asked, now);
  const since = utc(period.since), until = utc(period.until), length = period.until - period.since;
  const labels = useMemo(() => (asked.get("labels") ?? TOTAL).split(",").filter(Boolean).slice(0, SERIES_COLOURS), [asked.get("labels")]);
  const points = width ? Math.max(40, Math.round((width - 80) / PIXELS_PER_POINT)) : null;
  const path = (from, to_, n) => query("/api/history/series", { since: utc(from), until: utc(to_), points: n, labels: labels.join(",") });
  // A period that ends now moves on every minute: what was shown stays until the newer is there.
  const asking = (what) => (period.range ? { question: `${what} ${period.range} ${labels} ${asked.get("against")} ${points}` } : {});
  const answer = useAnswer(points && path(period.since, period.until, points), asking("series"));
  const against = asked.get("against");
  const shift = shiftOf(against, period);
  const other = useAnswer(points && shift ? path(period.since - shift, period.until - shift, points) : null, asking("other"));
  const sum = useAnswer(path(period.since, period.until, 1), asking("sum"));
  const otherSum = useAnswer(shift ? path(period.since - shift, period.until - shift, 1) : null, asking("other sum"));
  const events = useAnswer(query("/api/history/events", { since, until, limit: 500 }), asking("events"));
  const listed = listOf(events.value, "events");
  const marked = useMemo(() => listed.filter((event) => event.severity !== "info").map((event) => ({ at: Date.parse(event.since) / 1000, severity: event.severity })), [events.value]);
  const known = [...new Set([TOTAL, ...labels, ...Object.keys(state?.last_interval?.counts ?? {}), ...(answer.value?.labels ?? [])])];
  const download = (what) => query("/api/history/download", { what, since, until, format: "csv", labels: what === "series" ? labels.join(",") : undefined });
  const none = (value) => (listOf(value, "points").length ? null : html`<${Empty} title=${t("history.empty")}><p>${t("history.empty-why")}</p></${Empty}>`);
  return html`<div class="history"><${Status} /><${Card}><${Controls} asked=${asked} period=${period} labels=${labels} known=${known} />
    <div ref=${frame} class="plot-frame">${(answer.value?.other_units ?? []).length > 0 && html`<p class="muted">${t("history.units", { units: answer.value.other_units.map(unitText).join(", ") })}</p>`}<${Sight} of=${answer} what=${t("history.loading")} empty=${none}>${(value) => html`<${Plots} answer=${value} other=${other.value} period=${period} shiftMs=${shift ?? 0} labels=${labels} events=${marked} asked=${asked} />`}</${Sight}>
      ${shift && other.sight === "failed" && html`<p class="warn" role="alert">${t("history.other-failed")} ${other.error.message}</p>`}</div></${Card}>
    <div class="grid-2"><${Card} id="sums" title=${t("history.sums")} aside=${html`<${Explained} what="sum">${t("history.what-sum")}</${Explained}>`}>
      <${Sum} title=${html`${clock(period.since, { date: "always" })} – ${clock(period.until, { date: "always" })}`} of=${sum} labels=${labels} />
      ${shift && html`<${Sum} title=${html`${clock(period.since - shift, { date: "always" })} – ${clock(period.until - shift, { date: "always" })}`} of=${otherSum} labels=${labels} />`}</${Card}>
      <${Card} id="events" title=${t("history.events")}><${Sight} of=${events} empty=${() => (listed.length ? null : html`<p>${t("history.no-events")}</p>`)}>${() => html`<ul class="event-list">${listed.slice(0, 12).map((event) => html`<li key=${event.id ?? `${event.since}${event.code}`}><${Severity} of=${event.severity} /><div><p><${Time} at=${event.since} /> <span lang="en">${event.message}</span></p></div></li>`)}</ul>${listed.length > 12 && html`<p><a href="#/log">${t("history.more-events", { n: listed.length - 12 })}</a></p>`}`}</${Sight}></${Card}>
      <${Sizes} since=${since} until=${until} labels=${labels} asking=${asking} /><${Gaps} since=${since} until=${until} asking=${asking} longerS=${Math.max(60, Math.round(length / 1000 / 200))} /></div>
    <${Card} id="download" title=${t("history.download")}><p>${t("history.download-why")}</p><p class="controls">${["series", "intervals", "particles"].map((what) => html`<a key=${what} role="button" class="secondary outline small" href=${download(what)} download>${t(`download.${what}`)}</a>`)}</p></${Card}></div>`;
}

