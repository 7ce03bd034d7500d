// A text in Markdown as elements: headings, paragraphs, lists, tables, code. Text stays text; pictures are left out.
import { html } from "./dom.js";

const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*|!?\[([^\]]*)\]\(([^)\s]+)\)/g;

/** `code`, **strong**, [what a link says](is kept, not where it leads: what it names may not be here). */
function inline(text) {
  const found = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    found.push(text.slice(end, match.index));
    const [whole, code, strong, said] = match;
    if (code !== undefined) found.push(html`<code>${code}</code>`);
    else if (strong !== undefined) found.push(html`<strong>${strong}</strong>`);
    else if (!whole.startsWith("!")) found.push(said.replaceAll("`", ""));
    end = match.index + whole.length;
  }
  return [...found, text.slice(end)];
}

const cells = (line) => line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));

function table(lines, key) {
  const [head, , ...rows] = lines.map(cells);
  return html`<div key=${key} class="scroll" tabindex="0" role="region" aria-label=${head.filter(Boolean).join(", ") || undefined}><table>${head.some(Boolean) && html`<thead><tr>${head.map((cell) => html`<th scope="col">${inline(cell)}</th>`)}</tr></thead>`}
    <tbody>${rows.map((row) => html`<tr>${row.map((cell, k) => (k === 0 ? html`<th scope="row">${inline(cell)}</th>` : html`<td>${inline(cell)}</td>`))}</tr>`)}</tbody></table></div>`;
}

/** Sections of a text: [{title, body}], by its headings of the second level. */
export function sections(text) {
  return text.split(/^## /m).slice(1).map((part) => { const end = part.indexOf("\n"); return { title: part.slice(0, end).trim(), body: part.slice(end + 1) }; });
}

/** A body without headings above the third level. */
export function Markdown({ text }) {
  const blocks = [];
  const lines = text.split("\n");
  const taken = (goes) => { const found = []; while (lines.length && goes(lines[0])) found.push(lines.shift()); return found; };
  while (lines.length) {
    const [line] = lines, key = blocks.length;
    if (!line.trim()) lines.shift();
    else if (line.startsWith("```")) { lines.shift(); blocks.push(html`<pre key=${key} tabindex="0">${taken((one) => !one.startsWith("```")).join("\n")}</pre>`); lines.shift(); }
    else if (line.startsWith("|")) blocks.push(table(taken((one) => one.startsWith("|")), key));
    else if (line.startsWith("#")) blocks.push(html`<h3 key=${key}>${inline(lines.shift().replace(/^#+\s*/, ""))}</h3>`);
    else if (/^(-|\d+\.) /.test(line)) blocks.push(html`<ul key=${key}>${taken((one) => /^(-|\d+\.) |^ +\S/.test(one)).map((one) => html`<li>${inline(one.replace(/^\s*(-|\d+\.)?\s*/, ""))}</li>`)}</ul>`);
    else blocks.push(html`<p key=${key}>${inline(taken((one) => one.trim() && !/^(```|\||#)/.test(one)).join(" "))}</p>`);
  }
  return html`<div class="markdown">${blocks}</div>`;
}
