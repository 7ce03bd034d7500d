// The box's HTTP interface: every answer or a reason, never silence.
import { store, useEffect, useRef, useState } from "./dom.js";
import { clockAhead } from "./format.js";
import { t } from "./i18n.js";

/** Of a fleet's dashboard, whose page of one box this is: what its addresses begin with; else nothing. */
export const BOX = location.pathname.match(/^\/boxes\/[a-z0-9-]{1,64}/)?.[0] ?? "";
/** Where a path is asked: passwords and sessions are the place's, everything else the box's. */
export const at = (path) => (BOX && path.startsWith("/api/") && !/^\/api\/(session|setup|meanings|manual)/.test(path) ? BOX + path : path);

/** {set_up, user, csrf, place, device_id, may_set_up}; null: not asked yet. */
export const session = store(null);

export class ApiError extends Error {
  /** kind: lost, late, refused (with the server's own words). */
  constructor(kind, status, said = {}) {
    super(said.message || t(`error.${kind}`));
    Object.assign(this, { kind, status, said });
  }
}

/** Ask for JSON; ApiError where there is none. */
export async function ask(path, { method = "GET", body, signal, timeoutS = 20 } = {}) {
  const headers = { accept: "application/json" };
  if (method !== "GET") {
    headers["X-Holonode-CSRF"] = session.get()?.csrf ?? "";
    headers["content-type"] = "application/json";
  }
  const late = AbortSignal.timeout(timeoutS * 1000);
  let answer;
  try {
    answer = await fetch(at(path), {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body), credentials: "same-origin", cache: "no-store",
      signal: signal ? AbortSignal.any([signal, late]) : late,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(late.aborted ? "late" : "lost", 0);
  }
  noteClock(answer);
  const text = await answer.text().catch(() => { throw new ApiError("lost", 0); });
  let said = null;
  try { said = text ? JSON.parse(text) : null; } catch { if (answer.ok) throw new ApiError("odd", answer.status); }
  if (answer.ok) return said;
  if (answer.status === 401) refreshSession();
  throw new ApiError(answer.status === 503 ? "busy" : "refused", answer.status, said?.error ?? { message: t("error.status", { status: answer.status }) });
}

function noteClock(answer) {
  const said = Date.parse(answer.headers.get("date") ?? "");
  if (!Number.isFinite(said)) return;
  const ahead = said + 500 - Date.now();
  const before = clockAhead.get();
  // The header has whole seconds: within one it says nothing new.
  if (before === null || Math.abs(ahead - before) > 1500) clockAhead.set(Math.abs(ahead) < 1500 ? 0 : ahead);
}

let asked = 0;
/** Who we are to the box; of several answers the one to the last question counts. */
export async function refreshSession() {
  const mine = (asked += 1);
  try {
    const found = await ask("/api/session");
    if (mine === asked) session.set(found);
  } catch { /* the link says so itself */ }
}

/** With parameters; what is undefined, null or empty is left out. */
export function query(path, values) {
  const kept = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return at(kept.length ? `${path}?${new URLSearchParams(kept)}` : path);
}

/** A bare list or one within an object. */
export function listOf(answer, name) {
  if (Array.isArray(answer)) return answer;
  const found = answer?.[name] ?? Object.values(answer ?? {}).find(Array.isArray);
  return Array.isArray(found) ? found : [];
}

/** Whether this is a fleet's dashboard, far from the box. */
export const isFar = () => session.get()?.place === "fleet";

export const mayOperate = () => session.get()?.user?.role === "operator";

/**
 * What a path answers, asked again every `everyS`: {sight, value, error, at, again}.
 * sight: loading, ready, failed, or old (there is a value, and asking again failed). What answers another question is forgotten at
 * once; the question is the path, or `question` where a path only moves on with the time.
 */
export function useAnswer(path, { everyS = 0, question = path } = {}) {
  const [held, set] = useState({ question: null });
  const [turn, again] = useState(0);
  const last = useRef(held);
  last.current = held;
  useEffect(() => {
    if (!path) return undefined;
    const stop = new AbortController();
    ask(path, { signal: stop.signal }).then(
      (value) => set({ question, sight: "ready", value, at: Date.now() }),
      (error) => {
        if (stop.signal.aborted) return;
        const before = last.current;
        set(before.question === question && "value" in before ? { ...before, sight: "old", error } : { question, sight: "failed", error });
      },
    );
    return () => stop.abort();
  }, [path, question, turn]);
  useEffect(() => {
    if (!everyS) return undefined;
    const timer = setInterval(() => { if (!document.hidden) again((n) => n + 1); }, everyS * 1000);
    return () => clearInterval(timer);
  }, [everyS, question]);
  const shown = path && held.question === question ? held : { sight: "loading" };
  return { ...shown, again: () => { if (shown.sight === "failed") set({ question: null }); again((n) => n + 1); } };
}
