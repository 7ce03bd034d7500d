// All boxes, worst first, and what is wrong with them: the fleet's own pages.
import { html, useState, useStore } from "./dom.js";
import { ask, listOf, mayOperate, session, useAnswer } from "./api.js";
import { number, unitText } from "./format.js";
import { has, language, t } from "./i18n.js";
import { BoxMap, MapKey, hasPlace } from "./map.js";
import { Ago, Badge, Card, Choice, Empty, Icon, Sight, Time, say, words } from "./parts.js";

const BADGES = { failed: "failed", warning: "warning", unknown: "unknown", ok: "ok" };

/** Whether nothing was seen although it was looked, or nobody looked. */
function Counted({ box }) {
  if (!box.looked) return html`<span class="muted">${t("fleet.not-looked")}</span>`;
  if (typeof box.concentration !== "number") return html`${t("fleet.counted", { n: number(box.counted ?? 0) })}`;
  return html`${number(box.concentration)}\u202f${unitText(box.unit)} <span class="muted">(${t("fleet.counted", { n: number(box.counted ?? 0) })})</span>`;
}

function Box({ box }) {
  return html`<li class=${`check-row ${box.condition}`} data-box=${box.device_id}><${Badge} status=${BADGES[box.condition]}>${t(`fleet.${box.condition}`)}</${Badge}>
    <div><p class="check-head"><a class="box-name" href=${`/boxes/${box.device_id}#/now`}>${box.device_id}</a> <span class="muted">${box.mode && (has(`mode.${box.mode}`) ? t(`mode.${box.mode}`) : box.mode)}</span>
      ${box.alarms > 0 && html` <a href=${`#/alarms?box=${box.device_id}`}>${t("fleet.alarms", { n: box.alarms })}</a>`}</p>
      <p>${box.status === "stopped" ? t("fleet.stopped") : box.status === "offline" ? t("fleet.offline") : ""} <span class="muted">${t("fleet.heard")} <${Ago} at=${box.heard_at} every=${10} /></span></p>
      <p><span class="muted">${t("fleet.day")}</span> <${Counted} box=${box} />${box.waiting > 0 && html` · ${t("fleet.waiting", { n: number(box.waiting) })}`}</p></div></li>`;
}

/** Where they stand; who doesn't say it is named apart. */
function Places({ boxes }) {
  const placed = boxes.filter(hasPlace), others = boxes.filter((box) => !hasPlace(box));
  if (!placed.length) return null;
  return html`<${Card} id="places" title=${t("fleet.places")}><${BoxMap} boxes=${placed} /><${MapKey} />
    ${others.length > 0 && html`<p class="muted">${t("fleet.no-place")}</p><ul class="no-place">${others.map((box) => html`<li key=${box.device_id}><${Badge} status=${BADGES[box.condition]}>${t(`fleet.${box.condition}`)}</${Badge}> <a href=${`/boxes/${box.device_id}#/now`}>${box.device_id}</a></li>`)}</ul>`}</${Card}>`;
}

export function Boxes() {
  useStore(language);
  const answer = useAnswer("/api/boxes", { everyS: 10 });
  const boxes = listOf(answer.value, "boxes");
  const bad = boxes.filter((box) => box.condition === "failed" || box.condition === "warning").length;
  return html`<div class="fleet grid-2"><${Card} id="boxes" title=${t("page.boxes")} aside=${answer.value && html`<p class="muted">${bad ? t("fleet.bad", { n: bad }) : t("fleet.all-well")}</p>`}>
    <${Sight} of=${answer} empty=${(value) => (listOf(value, "boxes").length ? null : html`<${Empty} title=${t("fleet.none")}><p>${t("fleet.none-why")} <code>holonode-fleet collect</code>, <code>holonode-fleet watch</code></p></${Empty}>`)}>
    ${() => html`<ul class="check-list">${boxes.map((box) => html`<${Box} key=${box.device_id} box=${box} />`)}</ul>`}</${Sight}></${Card}><${Places} boxes=${boxes} /></div>`;
}

function Alarm({ alarm, again }) {
  const take = async () => {
    try { await ask(`/api/alarms/${alarm.id}/acknowledge`, { method: "POST", body: {} }); say(t("fleet.taken")); again(); } catch (error) { say(words(error), { kind: "failed" }); }
  };
  const over = Boolean(alarm.cleared_at);
  return html`<li class=${`check-row ${alarm.severity === "alarm" ? "failed" : "warning"}`} data-alarm=${alarm.id}><${Badge} status=${over ? "unknown" : alarm.severity === "alarm" ? "failed" : "warning"}>${t(over ? "fleet.over" : `severity.${alarm.severity}`)}</${Badge}>
    <div><p class="check-head"><a class="box-name" href=${`/boxes/${alarm.device_id}#/now`}>${alarm.device_id}</a> <span class="muted"><${Time} at=${alarm.begun_at} date="always" /> (<${Ago} at=${alarm.begun_at} every=${10} />)</span></p>
      <p lang="en">${alarm.message}</p>
      ${alarm.acknowledged_by ? html`<p class="muted">${t("fleet.seen-to", { by: alarm.acknowledged_by })}</p>` : !over && mayOperate() && html`<button type="button" class="secondary small" onClick=${take}>${t("fleet.take")}</button>`}</div></li>`;
}

function Silence({ again }) {
  const [hours, setHours] = useState("2");
  const [device, setDevice] = useState("");
  const [reason, setReason] = useState("");
  const send = async (event) => {
    event.preventDefault();
    try {
      await ask("/api/silences", { method: "POST", body: { hours: Number(hours), reason, ...(device ? { device_id: device } : {}) } });
      say(t("fleet.silenced"));
      setReason("");
      again();
    } catch (error) { say(words(error), { kind: "failed" }); }
  };
  if (!mayOperate()) return null;
  return html`<${Card} id="silence" title=${t("fleet.silence")}><p class="muted">${t("fleet.silence-is")}</p><form class="controls" onSubmit=${send}>
    <label>${t("fleet.hours")} <input type="number" min="0.1" max="8784" step="any" required value=${hours} onInput=${(event) => setHours(event.target.value)} /></label>
    <label>${t("fleet.device")} <input value=${device} pattern="[a-z0-9-]{1,64}" placeholder=${t("fleet.all")} onInput=${(event) => setDevice(event.target.value)} /></label>
    <label>${t("fleet.reason")} <input required maxlength="500" value=${reason} onInput=${(event) => setReason(event.target.value)} /></label>
    <button type="submit">${t("fleet.silence-do")}</button></form></${Card}>`;
}

export function Alarms() {
  useStore(language);
  useStore(session);
  const [which, choose] = useState("standing");
  const answer = useAnswer(which === "standing" ? "/api/alarms" : "/api/alarms?all=true", { everyS: 10 });
  return html`<div class="fleet"><${Card} id="alarms" title=${t("page.alarms")}><${Choice} name="which" legend=${t("fleet.which")} value=${which} onChange=${choose} options=${["standing", "all"].map((one) => [one, t(`fleet.which-${one}`)])} />
    <${Sight} of=${answer} empty=${(value) => (listOf(value, "alarms").length ? null : html`<p class="all-well"><${Icon} name="ok" /> ${t("fleet.no-alarms")}</p>`)}>
    ${(value) => html`<ul class="check-list">${listOf(value, "alarms").map((one) => html`<${Alarm} key=${one.id} alarm=${one} again=${answer.again} />`)}</ul>`}</${Sight}></${Card}><${Silence} again=${answer.again} /></div>`;
}
