// Preact with htm's templates, and values that pages listen to.
import { Component, Fragment, h, render } from "./vendor/preact.js";
import { useEffect, useErrorBoundary, useLayoutEffect, useMemo, useRef, useState } from "./vendor/hooks.js";
import htm from "./vendor/htm.js";

export { Component, Fragment, render, useEffect, useErrorBoundary, useLayoutEffect, useMemo, useRef, useState };
export const html = htm.bind(h);

/** A value that tells who listens when it is another. */
export function store(value) {
  const listeners = new Set();
  return {
    get: () => value,
    set(next) {
      if (Object.is(next, value)) return;
      value = next;
      for (const listener of [...listeners]) listener();
    },
    merge(part) { this.set({ ...value, ...part }); },
    listen(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** The value of a store; the component is drawn again when it changes. */
export function useStore(one) {
  const [value, set] = useState(one.get());
  useLayoutEffect(() => {
    set(one.get());
    return one.listen(() => set(one.get()));
  }, [one]);
  return value;
}

/** Drawn again every so many seconds, for ages. */
export function useTick(everyS = 1) {
  const [, set] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => set((n) => n + 1), everyS * 1000);
    return () => clearInterval(timer);
  }, [everyS]);
}

/** Where the viewer is: {page, query}, from the address behind #/. */
function routeNow() {
  const [path, search] = location.hash.replace(/^#\/?/, "").split("?");
  return { page: path || "now", query: new URLSearchParams(search ?? "") };
}
export const route = store(routeNow());
addEventListener("hashchange", () => route.set(routeNow()));

/** The address of a page; what is undefined or empty is left out. */
export function to(page, query = {}) {
  const kept = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const search = new URLSearchParams(kept).toString();
  return `#/${page}${search ? `?${search}` : ""}`;
}

/** Kept in this browser; a browser that keeps nothing is as good. */
export const kept = {
  get(name) { try { return localStorage.getItem(`holonode.${name}`); } catch { return null; } },
  set(name, value) { try { localStorage.setItem(`holonode.${name}`, value); } catch { /* private mode */ } },
};

/** Keep the focus inside and close on Escape: the browser's own dialog does both. */
export function Dialog({ title, onClose, children, wide = false }) {
  const ref = useRef();
  useLayoutEffect(() => { if (!ref.current.open) ref.current.showModal(); }, []);
  return html`<dialog ref=${ref} class=${wide ? "wide" : ""} aria-labelledby="dialog-title" onClose=${onClose}
      onClick=${(event) => event.target === ref.current && ref.current.close()}>
    <article>
      <header><h2 id="dialog-title">${title}</h2>
        <button type="button" class="plain close" aria-label="×" onClick=${() => ref.current.close()}><span aria-hidden="true">×</span></button></header>
      ${children}
    </article></dialog>`;
}
