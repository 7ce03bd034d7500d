// What happened and who did what.
import { html, useState, useStore } from "./dom.js";
import { BOX, isFar, listOf, mayOperate, query, session, useAnswer, ask } from "./api.js";
import { t } from "./i18n.js";
import { live } from "./live.js";
import { Ago, Card, Choice, Empty, Explained, OperatorsOnly, Severity, Sight, Time, loadMeanings, say, useMeanings, words } from "./parts.js";

function Events() {
  const [kind, setKind] = useState("all");
  const { events: fresh } = useStore(live);
  const answer = useAnswer(query("/api/history/events", { limit: 200 }));
  const meanings = useMeanings();
  loadMeanings();
  const listed = listOf(answer.value, "events");
  const all = [...new Map([...fresh, ...listed].map((event) => [event.since + event.code + event.message, event])).values()].sort((a, b) => Date.parse(b.since) - Date.parse(a.since));
  const shown = all.filter((event) => kind === "all" || event.severity === kind);
  return html`<${Card} id="events" title=${t("log.events")}><${Choice} name="kind" legend=${t("log.kind")} value=${kind} onChange=${setKind} options=${["all", "alarm", "warning", "info"].map((one) => [one, t(`log.${one}`)])} />
    <${Sight} of=${answer} empty=${() => (shown.length ? null : html`<${Empty} title=${t(kind === "all" ? "log.no-events" : "log.none-such")} />`)}>${() => html`<ul class="event-list">${shown.map((event) => {
      const remedy = meanings?.events?.[event.code]?.remedy;
      return html`<li key=${event.since + event.code + event.message} data-event=${event.code}><${Severity} of=${event.severity} /><div><p><${Time} at=${event.since} seconds /> <span class="muted">(<${Ago} at=${event.since} every=${10} />)</span> <code>${event.code}</code></p><p lang="en">${event.message}</p>
        ${remedy && event.severity !== "info" && html`<p class="remedy" lang="en">${remedy}</p>`}</div></li>`;
    })}</ul>`}</${Sight}></${Card}>`;
}

function Audit() {
  useStore(session);
  const answer = useAnswer(mayOperate() ? "/api/audit?limit=200" : null);
  return html`<${Card} id="audit" title=${t("log.audit")} aside=${html`<${Explained} what="audit">${t("log.what-audit")}</${Explained}>`}>${mayOperate() ? html`<${Sight} of=${answer} empty=${(value) => (listOf(value, "lines").length ? null : html`<p class="muted">${t("log.no-audit")}</p>`)}>${(value) => html`<div class="scroll" tabindex="0" role="region" aria-label=${t("log.audit")}><table><thead><tr><th scope="col">${t("log.when")}</th><th scope="col">${t("log.phase")}</th><th scope="col">${t("log.command")}</th><th scope="col">${t("log.who")}</th><th scope="col">${t("log.what")}</th></tr></thead>
    <tbody>${listOf(value, "lines").map((line, k) => html`<tr key=${k}><td class="nowrap"><${Time} at=${line.at} seconds date="always" /></td><td>${t(`phase.${line.phase}`)}</td><td><code>${line.command}</code></td><td>${[line.door, line.by].filter(Boolean).join(", ") || "MQTT"}</td><td><code class="wrap">${JSON.stringify(line.phase === "begin" ? line.request ?? {} : line.answer ?? line.request ?? {})}</code></td></tr>`)}</tbody></table></div>`}</${Sight}>` : html`<${OperatorsOnly} />`}</${Card}>`;
}

function Lines() {
  const answer = useAnswer("/api/log?limit=200", { everyS: 10 });
  const lines = (value) => listOf(value, "lines");
  return html`<${Card} id="lines" title=${t("log.lines")}><${Sight} of=${answer} empty=${(value) => (lines(value).length ? null : html`<p class="muted">${t("log.no-lines")}</p>`)}>${(value) => html`<pre class="log-lines" lang="en" tabindex="0">${lines(value).join("\n")}</pre>`}</${Sight}></${Card}>`;
}

function Sessions() {
  useStore(session);
  const answer = useAnswer(mayOperate() ? "/api/sessions" : null);
  const end = async (id) => { try { await ask(`/api/sessions/${encodeURIComponent(id)}`, { method: "DELETE" }); say(t("log.session-ended")); answer.again(); } catch (error) { say(words(error), { kind: "failed" }); } };
  if (!mayOperate()) return null;
  return html`<${Card} id="sessions" title=${t("log.sessions")}><${Sight} of=${answer} empty=${(value) => (listOf(value, "sessions").length ? null : html`<p class="muted">${t("log.no-sessions")}</p>`)}>${(value) => html`<ul class="plain-list">${listOf(value, "sessions").map((one) => html`<li key=${one.id}><strong>${t(`role.${one.role}`)}</strong> <span class="muted">${one.address ?? ""} · ${t("log.begun")} <${Time} at=${one.created_at} date="always" />${one.seen_at && html` · ${t("log.seen")} <${Ago} at=${one.seen_at} every=${10} />`}</span> ${one.current ? html`<span class="muted">${t("log.this-one")}</span>` : html`<button type="button" class="plain link" onClick=${() => end(one.id)}>${t("log.end-session")}</button>`}</li>`)}</ul>`}</${Sight}></${Card}>`;
}

export function Log() {
  return html`<div class="log">${(!isFar() || BOX) && html`<${Events} />`}${!isFar() && html`<${Audit} />`}<${Sessions} />${!isFar() && html`<${Lines} />`}</div>`;
}
