// Numbers, units and times for people: in their language, in their zone. Times come as RFC 3339 in UTC.
import { store } from "./dom.js";
import { language, t } from "./i18n.js";

const UNITS = {
  um: "µm", "um^2": "µm²", "um^3": "µm³", "um^-1": "µm⁻¹", "um/s": "µm/s", "m^-3": "m⁻³", m3: "m³", "m^3": "m³", "L^-1": "L⁻¹", "mL^-1": "mL⁻¹", "uL^-1": "µL⁻¹",
  uL: "µL", us: "µs", degC: "°C", "degrees C": "°C", degrees: "°", "s^-1": "s⁻¹", "px^-1": "px⁻¹", d: "d", share: "", "1": "",
};

/** A unit as it is printed. */
export const unitText = (unit) => (unit ? UNITS[unit] ?? unit : "");

const formats = new Map();
function numberFormat(options) {
  const key = language.get() + JSON.stringify(options);
  if (!formats.has(key)) formats.set(key, new Intl.NumberFormat(language.get(), options));
  return formats.get(key);
}

/** A number with so many significant digits; what isn't one is a dash. */
export function number(value, digits = 3) {
  if (typeof value !== "number" || !Number.isFinite(value)) return "–";
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return numberFormat({ maximumFractionDigits: 0 }).format(value);
  if (value !== 0 && (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e9)) return numberFormat({ notation: "scientific", maximumSignificantDigits: digits }).format(value);
  return numberFormat({ maximumSignificantDigits: digits }).format(value);
}

export const percent = (share, digits = 2) =>
  typeof share === "number" ? numberFormat({ style: "percent", maximumSignificantDigits: digits }).format(share) : "–";

/** A number with its unit, a narrow space that doesn't break between them. */
export function quantity(value, unit, digits = 3) {
  const shown = unitText(unit);
  return shown ? `${number(value, digits)}\u202f${shown}` : number(value, digits);
}

/** A volume, the air of a short sample in litres. */
export function volume(value, unit, digits = 3) {
  const air = unit === "m3" || unit === "m^3";
  return air && value > 0 && value < 0.1 ? quantity(value * 1000, "L", digits) : quantity(value, unit, digits);
}

/** A size of a file. */
export function bytes(value) {
  const steps = ["B", "kB", "MB", "GB", "TB"];
  let k = 0;
  while (value >= 1000 && k < steps.length - 1) { value /= 1000; k += 1; }
  return quantity(value, steps[k], 3);
}

// -- time ------------------------------------------------------------------------------------------------------------------

/** How far the box's clock is ahead of this device's, ms; null: not known. */
export const clockAhead = store(null);

/** The time by the box's clock, ms. */
export const boxNow = () => Date.now() + (clockAhead.get() ?? 0);

const timeFormats = new Map();
function timeFormat(options) {
  const key = language.get() + JSON.stringify(options);
  if (!timeFormats.has(key)) timeFormats.set(key, new Intl.DateTimeFormat(language.get(), options));
  return timeFormats.get(key);
}

let place = null;
/** The viewer's time zone; asked for once, for it takes long. */
export const zone = () => (place ??= Intl.DateTimeFormat().resolvedOptions().timeZone);

const sameDay = (a, b) => new Date(a).toDateString() === new Date(b).toDateString();
const moment = (time) => (typeof time === "number" ? time : Date.parse(time));

/** Time of the day, with the date where it isn't today's. */
export function clock(time, { seconds = false, date = "other" } = {}) {
  const at = moment(time);
  if (!Number.isFinite(at)) return "–";
  const withDate = date === "always" || (date === "other" && !sameDay(at, Date.now()));
  return timeFormat({
    ...(withDate ? { day: "numeric", month: "short", ...(new Date(at).getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" }) } : {}),
    hour: "2-digit", minute: "2-digit", ...(seconds ? { second: "2-digit" } : {}), hour12: false,
  }).format(at);
}

export const day = (time) => (Number.isFinite(moment(time)) ? timeFormat({ dateStyle: "medium" }).format(moment(time)) : "–");

/** Labels of a time axis: the time of the day, the date where it is another than before; with steps of days the date alone. */
export function axisTimes(seconds, stepS) {
  const date = timeFormat({ day: "numeric", month: "short" }), time = timeFormat({ hour: "2-digit", minute: "2-digit", ...(stepS < 60 ? { second: "2-digit" } : {}), hour12: false });
  return seconds.map((s, k) => {
    const at = s * 1000;
    if (stepS >= 86_400) return date.format(at);
    return k === 0 || !sameDay(at, seconds[k - 1] * 1000) ? `${time.format(at)}\n${date.format(at)}` : time.format(at);
  });
}

/** For a title: the whole time in this zone and in UTC. */
export function wholeTime(time) {
  const at = moment(time);
  if (!Number.isFinite(at)) return "";
  return `${timeFormat({ dateStyle: "full", timeStyle: "long" }).format(at)} · ${new Date(at).toISOString().replace(/\.\d+Z$/, "Z")}`;
}

/** A span of seconds: 12 s, 3 min, 2 h, 5 d. */
export function span(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  const s = Math.abs(seconds);
  if (s < 0.95) return `${number(s, 2)}\u202fs`;
  if (s < 99.5) return `${number(Math.round(s))}\u202fs`;
  if (s < 5400) return `${number(Math.round(s / 60))}\u202fmin`;
  if (s < 36 * 3600) return `${number(s / 3600, 2)}\u202fh`;
  return `${number(s / 86400, 2)}\u202f${t("unit.days")}`;
}

/** How long ago by the box's clock. */
export function ago(time) {
  const s = (boxNow() - moment(time)) / 1000;
  if (!Number.isFinite(s)) return "–";
  return s < 0.95 ? t("time.just-now") : t("time.ago", { span: span(s) });
}

/** In how long, or how long ago. */
export function inOrAgo(time) {
  const s = (moment(time) - boxNow()) / 1000;
  return s > 0.95 ? t("time.in", { span: span(s) }) : ago(time);
}

/** RFC 3339 in UTC of ms. */
export const utc = (ms) => new Date(ms).toISOString();

/** Value of an input of kind datetime-local, in the viewer's zone; and back. */
export const toLocalInput = (ms) => new Date(ms - new Date(ms).getTimezoneOffset() * 60000).toISOString().slice(0, 16);
export const fromLocalInput = (text) => new Date(text).getTime();
