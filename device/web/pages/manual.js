// What this is, and what every word and figure means.
import { html, route, useEffect, useState, useStore } from "./dom.js";
import { BOX, isFar, useAnswer } from "./api.js";
import { unitText } from "./format.js";
import { has, language, t } from "./i18n.js";
import { Markdown, sections } from "./markdown.js";
import { Card, Empty, Explained, Loading, Severity, Sight, loadMeanings, useMeanings } from "./parts.js";

const pages = () => (!isFar() ? ["now", "history", "particles", "health", "instrument", "data", "log"] : BOX ? ["now", "history", "health", "log"] : ["boxes", "alarms", "log"]);
const WORDS = ["concentration", "interval", "count", "volume", "dead-time", "gap", "esd", "depth", "score", "class", "physics", "qc", "hologram", "focus", "uncertainty", "trend", "calibration", "model", "outbox"];
const LICENCES = [["Preact", "MIT"], ["htm", "Apache-2.0"], ["uPlot", "MIT"], ["Pico CSS", "MIT"]];

function Fields() {
  const meanings = useMeanings();
  const [text, setText] = useState("");
  useEffect(() => { loadMeanings(); }, []);
  if (meanings === null) return html`<${Loading} />`;
  const all = Object.entries(meanings.fields ?? meanings).map(([name, one]) => ({ name, meaning: typeof one === "string" ? one : one?.meaning, unit: one?.unit })).filter((one) => typeof one.meaning === "string");
  const wanted = text.toLowerCase();
  const found = all.filter((one) => !wanted || one.name.toLowerCase().includes(wanted) || one.meaning.toLowerCase().includes(wanted));
  return html`<label>${t("manual.search")} <input type="search" value=${text} onInput=${(event) => setText(event.target.value)} /></label><p class="muted small-text" role="status">${t("manual.found", { n: found.length })}</p>
    ${found.length ? html`<dl class="meanings" lang="en">${found.slice(0, wanted ? 200 : 40).map((one) => html`<div key=${one.name}><dt><code>${one.name}</code>${one.unit && ` (${unitText(one.unit)})`}</dt><dd>${one.meaning}</dd></div>`)}</dl>` : html`<${Empty} title=${t("manual.none-found")} />`}`;
}

function EventCodes() {
  const meanings = useMeanings();
  const codes = Object.entries(meanings?.events ?? {});
  if (!codes.length) return null;
  return html`<${Card} id="codes" title=${t("manual.events")}><details><summary>${t("manual.events-all", { n: codes.length })}</summary><dl class="meanings" lang="en">${codes.map(([code, one]) => html`<div key=${code}><dt><code>${code}</code> ${(one.severity ?? one.severities ?? []).map((severity) => html`<${Severity} key=${severity} of=${severity} />`)}</dt><dd>${one.meaning} <span class="remedy">${one.remedy}</span></dd></div>`)}</dl></details></${Card}>`;
}

/** What the program brings along to read: how to set a box up, the week in the field, what it can and can't. */
function Readme() {
  const answer = useAnswer("/api/manual");
  const wanted = useStore(route).query.get("section");
  return html`<${Card} id="readme" title=${t("manual.readme")}><p>${t("manual.readme-is")}</p><${Sight} of=${answer}>${(value) => html`<div lang="en">${sections(value.text).map(({ title, body }) => html`<details key=${title} open=${title === wanted}><summary>${title}</summary><${Markdown} text=${body} /></details>`)}</div>`}</${Sight}></${Card}>`;
}

export function Manual() {
  useStore(language);
  return html`<div class="manual"><${Card} id="what" title=${t("manual.what")}><p>${t("manual.what-1")}</p><p>${t("manual.what-2")}</p><p>${t("manual.what-3")}</p></${Card}>
    <${Card} id="pages" title=${t("manual.pages")}><dl class="meanings">${pages().map((page) => html`<div key=${page}><dt><a href=${`#/${page}`}>${t(`page.${page}`)}</a></dt><dd>${t(`manual.page-${page}`)}</dd></div>`)}</dl></${Card}>
    <${Readme} /><${Card} id="words" title=${t("manual.words")}><dl class="meanings">${WORDS.filter((word) => has(`explain.${word}`)).map((word) => html`<div key=${word}><dt>${t(`word.${word}`)}</dt><dd>${t(`explain.${word}`)}</dd></div>`)}</dl></${Card}>
    <${Card} id="sights" title=${t("manual.sights")}><dl class="meanings">${["loading", "empty", "failed", "old"].map((one) => html`<div key=${one}><dt>${t(`manual.sight-${one}`)}</dt><dd>${t(`manual.sight-${one}-is`)}</dd></div>`)}</dl></${Card}>
    <${Card} id="keys" title=${t("manual.keyboard")}><p>${t("manual.keyboard-is")}</p></${Card}>
    <${Card} id="fields" title=${t("manual.fields")} aside=${html`<${Explained} what="fields">${t("manual.what-fields")}</${Explained}>`}><${Fields} /></${Card}><${EventCodes} />
    <${Card} id="licences" title=${t("manual.licences")}><p>${t("manual.licences-is")}</p><ul>${LICENCES.map(([name, licence]) => html`<li key=${name}>${name}: ${licence}</li>`)}</ul></${Card}></div>`;
}
