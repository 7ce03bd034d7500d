// One catalogue a language, in texts/; a test holds them to the same names.
import { kept, store } from "./dom.js";

export const LANGUAGES = { en: "English", de: "Deutsch" };
const catalogues = {};
let plural = new Intl.PluralRules("en");

function preferred() {
  const asked = kept.get("language");
  if (asked in LANGUAGES) return asked;
  return navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => tag in LANGUAGES) ?? "en";
}

/** The language in use: a tag. */
export const language = store("en");

/** Load a language and use it. */
export async function speak(tag = preferred()) {
  if (!catalogues[tag]) {
    const answer = await fetch(new URL(`./texts/${tag}.json`, import.meta.url));
    if (!answer.ok) throw new Error(`texts/${tag}.json: ${answer.status}`);
    catalogues[tag] = await answer.json();
  }
  plural = new Intl.PluralRules(tag);
  document.documentElement.lang = tag;
  language.set(tag);
}

/** Whether there is a text of that name. */
export const has = (key) => key in (catalogues[language.get()] ?? {});

/** The text of a name, {values} put in; with `n`, its singular or plural. A name without a text is shown as it is. */
export function t(key, values = {}) {
  const own = catalogues[language.get()] ?? {};
  const text = (Number.isFinite(values.n) && own[`${key}.${plural.select(Math.abs(values.n))}`]) || own[key] || own[`${key}.other`] || key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}
