// One catalogue a language, in texts/; what a language lacks is said in English.
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
  for (const one of new Set(["en", tag])) {
    if (catalogues[one]) continue;
    const answer = await fetch(new URL(`./texts/${one}.json`, import.meta.url));
    if (!answer.ok) throw new Error(`texts/${one}.json: ${answer.status}`);
    catalogues[one] = await answer.json();
  }
  plural = new Intl.PluralRules(tag);
  document.documentElement.lang = tag;
  language.set(tag);
}

/** Whether there is a text of that name. */
export const has = (key) => key in (catalogues[language.get()] ?? {}) || key in (catalogues.en ?? {});

/** The text of a name, {values} put in; with `n`, its singular or plural. A name without a text is shown as it is. */
export function t(key, values = {}) {
  const own = catalogues[language.get()] ?? {};
  const find = (name) => own[name] ?? catalogues.en?.[name];
  const text = (values.n !== undefined && find(`${key}.${plural.select(Math.abs(values.n))}`)) || find(key) || find(`${key}.other`) || key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}
