// The boxes on the outline of the world: Natural Earth's land at 1:110 million, as TopoJSON.
import { html, useEffect, useState } from "./dom.js";
import { t } from "./i18n.js";

/** Each state has a form of its own, for who doesn't see the colour. */
const FORMS = {
  ok: (x, y, r) => html`<circle cx=${x} cy=${y} r=${r} />`,
  warning: (x, y, r) => html`<path d=${`M${x} ${y - 1.3 * r}L${x + 1.2 * r} ${y + r}H${x - 1.2 * r}Z`} />`,
  failed: (x, y, r) => html`<path d=${`M${x} ${y - 1.4 * r}L${x + 1.4 * r} ${y}L${x} ${y + 1.4 * r}L${x - 1.4 * r} ${y}Z`} />`,
  unknown: (x, y, r) => html`<circle class="hollow" cx=${x} cy=${y} r=${0.8 * r} stroke-width=${0.5 * r} />`,
};
const LEAST_DEGREES = 16, MOST_DEGREES = 360;

/** TopoJSON's arcs as one path in degrees, south downwards. */
function outline({ arcs, transform: { scale, translate }, objects }) {
  const lines = arcs.map((arc) => {
    let x = 0, y = 0;
    return arc.map(([dx, dy]) => { x += dx; y += dy; return [x * scale[0] + translate[0], -(y * scale[1] + translate[1])]; });
  });
  const ring = (numbers) => numbers.flatMap((n, k) => (n < 0 ? [...lines[~n]].reverse() : lines[n]).slice(k ? 1 : 0));
  const rings = objects.land.geometries.flatMap((shape) => shape.arcs.flat());
  return rings.map((numbers) => `M${ring(numbers).map(([x, y]) => `${x.toFixed(2)} ${y.toFixed(2)}`).join("L")}Z`).join("");
}

let land;
function useLand() {
  const [drawn, set] = useState("");
  useEffect(() => {
    // Without it the boxes still stand on their degrees.
    land ??= fetch(new URL("./vendor/land-110m.json", import.meta.url).pathname).then((answer) => answer.json()).then(outline).catch(() => { land = undefined; return ""; });
    land.then(set);
  }, []);
  return drawn;
}

export const hasPlace = (box) => typeof box.latitude_degrees === "number" && typeof box.longitude_degrees === "number";

/** What holds all of them, twice as wide as high. */
function view(placed) {
  const ends = (values) => [Math.min(...values), Math.max(...values)];
  const [west, east] = ends(placed.map((box) => box.longitude_degrees)), [south, north] = ends(placed.map((box) => box.latitude_degrees));
  const wide = Math.min(MOST_DEGREES, Math.max(LEAST_DEGREES, 1.4 * (east - west), 2.8 * (north - south)));
  return { left: (west + east - wide) / 2, top: -(north + south) / 2 - wide / 4, wide };
}

/** `boxes`: those with a place, the worst first. */
export function BoxMap({ boxes }) {
  const drawn = useLand();
  const { left, top, wide } = view(boxes);
  const r = wide * 0.011, line = wide * 0.035;
  const labels = [];
  const marks = boxes.map((box) => {
    const x = box.longitude_degrees, y = -box.latitude_degrees;
    // Names of boxes that stand together stand below each other.
    let below = y;
    while (labels.some((other) => Math.abs(other.x - x) < 0.16 * wide && Math.abs(other.y - below) < line)) below += line;
    labels.push({ x, y: below });
    return { box, x, y, below };
  });
  return html`<svg class="map" viewBox=${`${left} ${top} ${wide} ${wide / 2}`} role="group" aria-label=${t("fleet.places")}>
    <path class="land" d=${drawn} stroke-width=${wide * 0.0012} />
    ${marks.map(({ box, x, y, below }) => html`<a key=${box.device_id} class=${box.condition} href=${`/boxes/${box.device_id}#/now`} aria-label=${`${box.device_id}: ${t(`fleet.${box.condition}`)}`}><title>${box.device_id}: ${t(`fleet.${box.condition}`)}</title>
      ${FORMS[box.condition](x, y, r)}<text x=${x + 2 * r} y=${below + r} font-size=${line * 0.8} stroke-width=${wide * 0.006}>${box.device_id}</text></a>`)}</svg>`;
}

/** What the forms say. */
export const MapKey = () => html`<ul class="legend map-key">${Object.entries(FORMS).map(([condition, form]) => html`<li key=${condition}><svg class=${`map-form ${condition}`} viewBox="-2 -2 4 4" aria-hidden="true">${form(0, 0, 1.2)}</svg>${t(`fleet.${condition}`)}</li>`)}</ul>`;
