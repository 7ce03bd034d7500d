// Set-up and login, and what is said of either on every page.
import { html, useState, useStore } from "./dom.js";
import { ask, isFar, refreshSession, session } from "./api.js";
import { t } from "./i18n.js";
import { live } from "./live.js";
import { Card, Failed, say } from "./parts.js";

const LEAST = 10;

/** What holds for every page: no password yet, simulated. In short where what is looked at needs the room. */
export function Notes({ slim = false }) {
  const who = useStore(session);
  const { state } = useStore(live);
  const simulated = state?.simulated ?? [];
  const kind = slim ? "slim" : "";
  return html`${who && !who.set_up && html`<aside class=${`banner warning ${kind}`} data-banner="no-password"><p><strong>${t(isFar() ? "banner.no-password-fleet" : "banner.no-password")}</strong> ${!slim && html`${t(who.may_set_up ? "banner.no-password-here" : "banner.no-password-far")} <a href="#/manual">${t("banner.what-is-this")}</a>`}</p>
      <a role="button" class="small" href="#/setup">${t("action.set-password")}</a></aside>`}
    ${simulated.length > 0 && html`<aside class=${`banner info ${kind}`} data-banner="simulated"><p><strong>${t("banner.simulated")}</strong> ${!slim && t("banner.simulated-parts", { parts: simulated.map((part) => t(`part.${part}`).replace(/^part\./, "")).join(", ") })}</p></aside>`}`;
}

function Password({ id, label, value, onInput, hint, autocomplete, least }) {
  const [seen, see] = useState(false);
  return html`<label for=${id}>${label}</label>
    <div class="with-button"><input id=${id} name=${id} type=${seen ? "text" : "password"} value=${value} autocomplete=${autocomplete} required=${least > 0} minlength=${least || undefined}
      aria-describedby=${hint && `${id}-hint`} spellcheck="false" autocapitalize="off" onInput=${(event) => onInput(event.target.value)} />
      <button type="button" class="secondary small" aria-pressed=${seen} onClick=${() => see(!seen)}>${t("door.show")}</button></div>
    ${hint && html`<small id=${`${id}-hint`}>${hint}</small>`}`;
}

/** The first visit: what this is, what to do. */
export function SetUp() {
  const who = session.get();
  const [operator, setOperator] = useState("");
  const [viewer, setViewer] = useState("");
  const [code, setCode] = useState("");
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  if (who?.set_up && who.user) return html`<${Card} title=${t("door.set-up")}><p>${t("door.is-set-up")}</p><p><a role="button" href="#/now">${t("page.now")}</a></p></${Card}>`;
  const needsCode = who && !who.may_set_up;
  async function send(event) {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await ask("/api/setup", { method: "POST", body: { operator_password: operator, ...(viewer ? { viewer_password: viewer } : {}), ...(code ? { code: code.trim() } : {}) } });
      await refreshSession();
      say(t("door.set-up-done"));
      location.hash = session.get()?.user ? "#/now" : "#/login";
    } catch (problem) { setError(problem); } finally { setBusy(false); }
  }
  return html`<div class="narrow"><${Card} title=${t("door.set-up")}>
    <p>${t("door.what-this-is")}</p><p>${t("door.why")}</p>
    ${error && html`<${Failed} error=${error} title=${t("door.refused")} />`}
    <form onSubmit=${send}>
      ${needsCode && html`<label for="code">${t("door.code")}</label><input id="code" value=${code} required autocomplete="one-time-code" spellcheck="false" aria-describedby="code-hint" onInput=${(event) => setCode(event.target.value)} />
        <small id="code-hint">${t("door.code-hint")} <code>${who?.code_command ?? "holonode web code"}</code></small>`}
      <${Password} id="operator_password" label=${t("door.operator-password")} value=${operator} onInput=${setOperator} autocomplete="new-password" hint=${t("door.least", { n: LEAST })} least=${LEAST} />
      <${Password} id="viewer_password" label=${t("door.viewer-password")} value=${viewer} onInput=${setViewer} autocomplete="new-password" hint=${t("door.viewer-hint")} least=${0} />
      <button type="submit" disabled=${busy} aria-busy=${busy}>${t("action.set-password")}</button>
    </form></${Card}></div>`;
}

export function LogIn() {
  const who = session.get();
  const [role, setRole] = useState("operator");
  const [password, setPassword] = useState("");
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  if (who && !who.set_up) return html`<${SetUp} />`;
  async function send(event) {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await ask("/api/session", { method: "POST", body: { role, password } });
      await refreshSession();
      location.hash = "#/now";
    } catch (problem) { setError(problem); } finally { setBusy(false); }
  }
  return html`<div class="narrow"><${Card} title=${t("door.log-in")}>
    <p>${t("door.log-in-why")}</p>
    ${error && html`<${Failed} error=${error} title=${t("door.refused")} />`}
    <form onSubmit=${send}>
      <label for="role">${t("door.as")}</label>
      <select id="role" value=${role} onChange=${(event) => setRole(event.target.value)}>
        <option value="operator">${t("role.operator")}</option><option value="viewer">${t("role.viewer")}</option></select>
      <${Password} id="password" label=${t("door.password")} value=${password} onInput=${setPassword} autocomplete="current-password" least=${1} />
      <button type="submit" disabled=${busy} aria-busy=${busy}>${t("action.log-in")}</button>
    </form><p class="small-text"><a href="#/setup">${t("door.forgotten")}</a></p></${Card}></div>`;
}

export async function logOut() {
  try {
    await ask("/api/session", { method: "DELETE" });
    say(t("door.logged-out"));
  } catch (error) { say(error.message, { kind: "failed" }); }
  await refreshSession();
  location.hash = "#/now";
}
