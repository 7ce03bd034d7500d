// The frame around every page: where you are, who you are, whether the box is heard.
import { html, kept, render, route, store, useEffect, useErrorBoundary, useLayoutEffect, useRef, useState, useStore } from "./dom.js";
import { BOX, isFar, refreshSession, session } from "./api.js";
import { clockAhead, span, zone } from "./format.js";
import { LANGUAGES, language, speak, t } from "./i18n.js";
import { connect, disconnect, live, said } from "./live.js";
import { Explanation, Failed, Icon, Loading, Old, Toasts } from "./parts.js";
import { LogIn, Notes, SetUp, logOut } from "./doors.js";
import { Now } from "./now.js";

const LATER = {
  history: () => import("./history.js").then((m) => m.History),
  particles: () => import("./particles.js").then((m) => m.Particles),
  health: () => import("./health.js").then((m) => m.Health),
  instrument: () => import("./instrument.js").then((m) => m.Instrument),
  data: () => import("./data.js").then((m) => m.Data),
  log: () => import("./log.js").then((m) => m.Log),
  manual: () => import("./manual.js").then((m) => m.Manual),
  boxes: () => import("./fleet.js").then((m) => m.Boxes),
  alarms: () => import("./fleet.js").then((m) => m.Alarms),
  compare: () => import("./compare.js").then((m) => m.Compare),
};
const ON_A_BOX = ["now", "history", "particles", "health", "instrument", "data", "log", "manual"];
/** On a box; of one box from far away; of all. */
const pagesHere = () => (!isFar() ? ON_A_BOX : BOX ? ["now", "history", "health", "log", "manual"] : ["boxes", "alarms", "compare", "log", "manual"]);
const FIRST = ["now", "history", "particles", "health", "boxes", "alarms", "compare"];
const nameHere = () => (BOX ? BOX.split("/")[2] : isFar() ? t("fleet.name") : session.get()?.device_id);
const loaded = store({ now: Now, setup: SetUp, login: LogIn });

// -- theme -----------------------------------------------------------------------------------------------------------------

const dark = matchMedia("(prefers-color-scheme: dark)");
const theme = store(kept.get("theme") ?? "auto");
function paint() {
  const wanted = theme.get();
  document.documentElement.dataset.theme = wanted === "auto" ? (dark.matches ? "dark" : "light") : wanted;
  dispatchEvent(new Event("theme"));
}
dark.addEventListener("change", paint);
theme.listen(paint);
paint();

// -- pieces ----------------------------------------------------------------------------------------------------------------

function Nav({ page }) {
  const { state } = useStore(live);
  const bad = (state?.health?.checks ?? []).filter((check) => check.status === "warning" || check.status === "failed").length;
  const [more, setMore] = useState(false);
  useEffect(() => setMore(false), [page]);
  const link = (name) => html`<li key=${name} class=${FIRST.includes(name) ? "" : "later"}><a href=${`#/${name}`} aria-current=${name === page ? "page" : undefined}>
    <${Icon} name=${name} /><span>${t(`page.${name}`)}</span>
    ${name === "health" && bad > 0 && html`<span class=${`count ${state.health.status}`}><span aria-hidden="true">${bad}</span><span class="sr">${t("nav.bad", { n: bad })}</span></span>`}</a></li>`;
  return html`<nav class=${more ? "pages open" : "pages"} aria-label=${t("nav.pages")}><ul>${BOX && html`<li><a href="/"><${Icon} name="boxes" /><span>${t("page.boxes")}</span></a></li>`}${pagesHere().map(link)}
    <li class="more"><button type="button" class="plain" aria-expanded=${more} onClick=${() => setMore(!more)}><${Icon} name="more" /><span>${t("page.more")}</span></button></li></ul></nav>`;
}

function Who() {
  const who = useStore(session);
  if (!who) return null;
  if (who.user) return html`<span class="who"><span class="role">${t(`role.${who.user.role}`)}</span> <button type="button" class="plain link" onClick=${logOut}>${t("action.log-out")}</button></span>`;
  return html`<a class="who" href=${who.set_up ? "#/login" : "#/setup"}>${t(who.set_up ? "action.log-in" : "action.set-up")}</a>`;
}

function Link() {
  const { link } = useStore(live);
  return html`<span class=${`live ${link}`} data-link=${link}><span class="dot" aria-hidden="true"></span>${t(`link.${link}`)}</span>`;
}

/** What must be known before anything else on a page is believed: that the box isn't heard, that clocks are apart. */
function Doubts() {
  const { link, heardAt } = useStore(live);
  const ahead = useStore(clockAhead);
  return html`${link === "lost" && (heardAt ? html`<${Old} since=${heardAt + (ahead ?? 0)} again=${connect} />` : html`<${Failed} error=${{ message: t("error.lost"), kind: "lost" }} again=${connect} />`)}
    ${ahead !== null && Math.abs(ahead) > 60_000 && html`<aside class="banner warning"><p><strong>${t("banner.clock")}</strong> ${t(ahead > 0 ? "banner.clock-ahead" : "banner.clock-behind", { span: span(ahead / 1000) })}</p></aside>`}`;
}

function Foot() {
  const { state } = useStore(live);
  const wanted = useStore(theme);
  const tag = useStore(language);
  return html`<footer class="foot">
    <p>${t("foot.zone", { zone: zone() })}${state?.version && html` · Holonode ${state.version}`}</p>
    <p class="choices"><label>${t("foot.language")} <select value=${tag} onChange=${(event) => { kept.set("language", event.target.value); speak(event.target.value); }}>
      ${Object.entries(LANGUAGES).map(([key, name]) => html`<option key=${key} value=${key} lang=${key}>${name}</option>`)}</select></label>
    <label>${t("foot.theme")} <select value=${wanted} onChange=${(event) => { kept.set("theme", event.target.value); theme.set(event.target.value); }}>
      ${["auto", "light", "dark"].map((key) => html`<option key=${key} value=${key}>${t(`theme.${key}`)}</option>`)}</select></label></p></footer>`;
}

function Page({ page }) {
  const pages = useStore(loaded);
  const { link } = useStore(live);
  const [error, reset] = useErrorBoundary();
  const [failed, setFailed] = useState(null);
  const load = () => {
    setFailed(null);
    LATER[page]().then((found) => loaded.merge({ [page]: found }), (problem) => setFailed({ message: t("error.page"), kind: "lost", problem }));
  };
  useEffect(() => { if (!pages[page] && LATER[page]) load(); }, [page]);
  useEffect(() => { if (failed && link === "heard") load(); }, [link]);
  if (error) {
    console.error(error);
    return html`<${Failed} error=${{ message: t("error.drawing", { error: String(error.message ?? error) }), kind: "odd" }} again=${reset} />`;
  }
  if (failed) return html`<${Failed} error=${failed} again=${load} />`;
  const Shown = pages[page];
  return Shown ? html`<${Shown} />` : html`<${Loading} />`;
}

function App() {
  const { page: asked } = useStore(route);
  useStore(language);
  const who = useStore(session);
  const known = pagesHere().includes(asked) || asked === "setup" || asked === "login";
  // Who may not read has one door.
  const page = who && !who.may_read && asked !== "setup" ? "login" : known ? asked : pagesHere()[0];
  const main = useRef();
  const first = useRef(true);
  useLayoutEffect(() => {
    const device = nameHere();
    document.title = [t(`page.${page}`), device, "Holonode"].filter(Boolean).join(" · ");
    if (first.current) { first.current = false; return; }
    scrollTo(0, 0);
    main.current?.focus({ preventScroll: true });
  }, [page, who?.device_id, language.get()]);
  return html`<a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); main.current.focus(); }}>${t("nav.skip")}</a>
    <header class="top"><a class="home" href=${`#/${pagesHere()[0]}`}><img src=${new URL("./icon.svg", import.meta.url).pathname} alt="" width="28" height="28" /><span>${nameHere() ?? "Holonode"}</span></a>${(!isFar() || BOX) && html`<${Link} />`}<${Who} /></header>
    <${Nav} page=${page} />
    <main id="main" tabindex="-1" ref=${main} data-page=${page}><${Doubts} />${page !== "now" && page !== "setup" && page !== "login" && html`<${Notes} slim />`}
      <h1 class=${page === "now" ? "sr" : ""}>${t(`page.${page}`)}</h1>
      <${Page} page=${page} key=${page} /></main>
    <${Foot} /><${Toasts} /><${Explanation} />`;
}

const FIRST_WORD_MS = 1500;

/** The box is listened to while the texts come, so that the first page is drawn once, with what it says; or without, if it is slow. */
async function begin() {
  const root = document.getElementById("app");
  try {
    await Promise.all([speak(), refreshSession()]);
  } catch (error) {
    root.textContent = `Holonode: ${error.message}`;
    return;
  }
  await said(FIRST_WORD_MS);
  root.textContent = "";
  render(html`<${App} />`, root);
}

/** As whoever we are now; who may not read isn't told anything. */
function listen() {
  const who = session.get();
  if (isFar() && !BOX) return;
  if (!who || who.may_read) connect();
  else disconnect();
}

let before = null;
session.listen(() => {
  const who = session.get(), now = `${who?.user?.role} ${who?.may_read}`;
  if (now !== before) listen();
  before = now;
});

begin();
