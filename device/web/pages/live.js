// What the box says by itself: its state, that there is another picture, its events; and whether it is still heard.
import { store } from "./dom.js";
import { ask, isFar, refreshSession, session } from "./api.js";

const SILENT_S = 40;
const LONGEST_WAIT_S = 15;
const HIDDEN_S = 60;

/** link: connecting, heard, lost (since lostAt), closed (not logged in); state, look id, newest events first; heardAt by this device's clock, ms. */
export const live = store({ link: "connecting", state: null, look: null, events: [], heardAt: null, lostAt: null });

let source = null;
let retry = null;
let waitS = 1;
let hiding = null;

function heard(part) {
  waitS = 1;
  live.merge({ link: "heard", lostAt: null, heardAt: Date.now(), ...part });
}

function lost() {
  source?.close();
  source = null;
  const before = live.get();
  // The session may be over: its stream is refused then.
  refreshSession();
  if (before.link !== "lost") live.merge({ link: "lost", lostAt: Date.now() });
  clearTimeout(retry);
  retry = setTimeout(connect, waitS * 1000);
  waitS = Math.min(LONGEST_WAIT_S, waitS * 2);
}

function parsed(message) {
  try { return JSON.parse(message.data); } catch { return null; }
}

const FAR_EVERY_S = 5;

/** From far away there is no stream: a box says how it is every minute. */
async function askOften() {
  try {
    const state = await ask("/api/state", { timeoutS: 8 });
    if (source !== far) return;
    heard({ state });
  } catch (error) {
    if (source !== far) return;
    lost();
    return;
  }
  clearTimeout(retry);
  retry = setTimeout(() => { if (source === far) askOften(); }, FAR_EVERY_S * 1000);
}
const far = { close() {} };

/** Listen; heard of by `live`. */
export function connect() {
  clearTimeout(retry);
  source?.close();
  if (isFar()) {
    source = far;
    askOften();
    return;
  }
  const mine = new EventSource("/api/stream");
  source = mine;
  mine.addEventListener("open", () => { if (session.get() === null) refreshSession(); });
  mine.addEventListener("state", (message) => {
    // Whole at first, then what changed.
    const told = parsed(message);
    if (told) heard({ state: { ...live.get().state, ...told } });
  });
  mine.addEventListener("look", (message) => { const look = parsed(message); if (look) heard({ look }); });
  mine.addEventListener("event", (message) => {
    const event = parsed(message);
    if (event) heard({ events: [event, ...live.get().events].slice(0, 50) });
  });
  mine.addEventListener("error", () => { if (mine === source) lost(); });
}

/** Once the box has said how it is, or it is clear that it won't; after so many ms at the latest. */
export function said(mostMs) {
  const waits = () => live.get().link === "connecting" && source !== null;
  return new Promise((go) => {
    if (!waits()) { go(); return; }
    const stop = live.listen(() => { if (!waits()) { stop(); go(); } });
    setTimeout(() => { stop(); go(); }, mostMs);
  });
}

/** Listen no more, and know nothing. */
export function disconnect() {
  clearTimeout(retry);
  source?.close();
  source = null;
  live.set({ link: "closed", state: null, look: null, events: [], heardAt: null, lostAt: null });
}

/** A stream that died without a word: asked whether the box is there. */
async function probe() {
  const { heardAt } = live.get();
  if (!source || document.hidden || (heardAt && Date.now() - heardAt < SILENT_S * 1000)) return;
  try { heard({ state: await ask("/api/state", { timeoutS: 8 }) }); } catch (error) { if (error.kind !== "refused") lost(); }
}
setInterval(probe, 10_000);

// Nobody looks: the box needn't render pictures.
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (live.get().link === "closed") return;
  if (document.hidden) hiding = setTimeout(() => { source?.close(); source = null; clearTimeout(retry); }, HIDDEN_S * 1000);
  else if (!source) { waitS = 1; connect(); }
});
addEventListener("online", () => { if (live.get().link === "lost") { waitS = 1; connect(); } });
