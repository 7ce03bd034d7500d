// Curves over time by uPlot: the interval of each value as a band, zeros that were looked at as marks, gaps hatched, events on the axis.
import uPlot from "./vendor/uplot.js";
import { html, useEffect, useLayoutEffect, useRef } from "./dom.js";
import { axisTimes, number } from "./format.js";
import { language } from "./i18n.js";

/** Its own style sheet comes with it: the first page needs neither. */
const sheet = document.createElement("link");
Object.assign(sheet, { rel: "stylesheet", href: new URL("./vendor/uplot.css", import.meta.url).pathname });
document.head.append(sheet);

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
export const SERIES_COLOURS = 6;
export const seriesColour = (k) => style(`--series-${(k % SERIES_COLOURS) + 1}`);
const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3], [], [7, 4]];

/** A colour of the style sheet, half seen through. */
function pale(colour, share) {
  const [r, g, b] = colour.match(/[0-9a-f]{2}/gi).map((part) => parseInt(part, 16));
  return `rgba(${r},${g},${b},${share})`;
}

const AXIS_PX = 62;
/** Of these many pixels a point at least, or nobody can tell them apart. */
export const PIXELS_PER_POINT = 3;

function axes({ bottom, unit }) {
  const ink = style("--muted-ink"), grid = style("--line");
  const font = `12px ${getComputedStyle(document.body).fontFamily}`;
  return [
    { stroke: ink, font, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid }, show: bottom, space: 90,
      values: (_, splits, __, ___, step) => axisTimes(splits, step) },
    { stroke: ink, font, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid }, size: AXIS_PX, space: 34, values: (_, splits) => splits.map((v) => number(v)), label: unit, labelSize: unit ? 18 : 0, labelFont: font },
  ];
}

/** Where nothing was looked at: hatched from top to bottom. `gaps`: [[from, until] in s]. */
function hatch(gaps) {
  return (u) => {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    for (const [from, until] of gaps) {
      const left = Math.max(bbox.left, u.valToPos(from, "x", true)), right = Math.min(bbox.left + bbox.width, u.valToPos(until, "x", true));
      if (right > left) ctx.rect(left, bbox.top, Math.max(1, right - left), bbox.height);
    }
    ctx.clip();
    ctx.fillStyle = style("--hatch-ground");
    ctx.fillRect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.strokeStyle = style("--hatch");
    ctx.lineWidth = devicePixelRatio;
    ctx.beginPath();
    const step = 7 * devicePixelRatio;
    for (let x = bbox.left - bbox.height; x < bbox.left + bbox.width; x += step) {
      ctx.moveTo(x, bbox.top + bbox.height);
      ctx.lineTo(x + bbox.height, bbox.top);
    }
    ctx.stroke();
    ctx.restore();
  };
}

/** Zeros that were looked at: rings that stand on the axis. */
function zeros(rows) {
  return (u) => {
    const { ctx } = u;
    ctx.save();
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.fillStyle = style("--card");
    rows.forEach((values, k) => {
      ctx.strokeStyle = seriesColour(k);
      let last = -99;
      values.forEach((value, i) => {
        if (value !== 0) return;
        const x = u.valToPos(u.data[0][i], "x", true);
        if (x - last < 5 * devicePixelRatio) return;
        last = x;
        ctx.beginPath();
        ctx.arc(x, u.valToPos(0, "y", true), 3 * devicePixelRatio, 0, 7);
        ctx.fill();
        ctx.stroke();
      });
    });
    ctx.restore();
  };
}

/** What stands alone between gaps has neither line nor band: a dot, and its interval as a stroke. */
function lone(rows) {
  return (u) => {
    const { ctx } = u;
    ctx.save();
    rows.forEach(({ value: values, low, high }, k) => {
      const known = (i) => values[i] !== null && values[i] !== undefined;
      ctx.strokeStyle = ctx.fillStyle = seriesColour(k);
      values.forEach((value, i) => {
        if (!known(i) || known(i - 1) || known(i + 1)) return;
        const x = u.valToPos(u.data[0][i], "x", true);
        if (low?.[i] !== null && low?.[i] !== undefined && high[i] !== null) {
          ctx.globalAlpha = 0.45;
          ctx.lineWidth = 2 * devicePixelRatio;
          ctx.beginPath();
          ctx.moveTo(x, u.valToPos(low[i], "y", true));
          ctx.lineTo(x, u.valToPos(high[i], "y", true));
          ctx.stroke();
          ctx.globalAlpha = 1;
        }
        if (value === 0) return;
        ctx.beginPath();
        ctx.arc(x, u.valToPos(value, "y", true), 2.5 * devicePixelRatio, 0, 7);
        ctx.fill();
      });
    });
    ctx.restore();
  };
}

/** Events: marks along the upper edge, lines through the alarms. */
function marks(events) {
  return (u) => {
    const { ctx, bbox } = u;
    ctx.save();
    for (const { at, severity } of events) {
      const x = u.valToPos(at, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      const size = 4.5 * devicePixelRatio;
      ctx.fillStyle = ctx.strokeStyle = style(severity === "alarm" ? "--failed" : severity === "warning" ? "--warning" : "--muted-ink");
      ctx.beginPath();
      ctx.moveTo(x - size, bbox.top);
      ctx.lineTo(x + size, bbox.top);
      ctx.lineTo(x, bbox.top + 1.7 * size);
      ctx.fill();
      if (severity === "alarm") {
        ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
      }
    }
    ctx.restore();
  };
}

/**
 * One chart. `x`: middles in s; `rows`: [{label, value, low, high}], each an array with null where nothing is; `bars`: drawn as
 * such. `onIndex(i|null)`: where the pointer is; `onRange(from, until)`: what was drawn over, s.
 */
export function Chart({ x, range, rows, gaps = [], events = [], unit, height, bars = false, bottom = true, sync, onIndex, onRange, most, label, showZeros = true }) {
  const place = useRef();
  const plot = useRef(null);
  const calls = useRef({});
  calls.current = { onIndex, onRange };
  useLayoutEffect(() => {
    const node = place.current;
    const make = () => {
      plot.current?.destroy();
      node.textContent = "";
      const series = [{}], bands = [], data = [x];
      rows.forEach((row, k) => {
        const colour = seriesColour(k);
        if (row.low) {
          series.push({ stroke: "transparent", width: 0, points: { show: false } }, { stroke: "transparent", width: 0, points: { show: false } });
          data.push(row.high, row.low);
          bands.push({ series: [series.length - 2, series.length - 1], fill: pale(colour, 0.18) });
        }
        series.push(bars ? { stroke: colour, fill: pale(colour, 0.45), width: 1, paths: uPlot.paths.bars({ size: [0.9, 60] }), points: { show: false } }
          : { stroke: colour, width: 2, dash: DASHES[k % DASHES.length], spanGaps: false, points: { show: x.length < node.clientWidth / 9, size: 6, fill: style("--card") } });
        data.push(row.value);
      });
      plot.current = new uPlot({
        width: node.clientWidth, height, series, bands, axes: axes({ bottom, unit }), legend: { show: false }, padding: [12, 26, bottom ? 0 : 4, 0],
        scales: { x: { time: true, range: () => range }, y: { range: (_, low, high) => [Math.min(0, low ?? 0), most ?? (high > 0 ? high * 1.06 : 1)] } },
        cursor: { drag: { x: true, y: false, setScale: false }, sync: sync ? { key: sync } : undefined, points: { size: 8 }, y: false, focus: { prox: -1 } },
        hooks: {
          drawClear: [hatch(gaps)], draw: [...(bars ? [] : [lone(rows)]), ...(showZeros && !bars ? [zeros(rows.map((row) => row.value))] : []), ...(events.length ? [marks(events)] : [])],
          setCursor: [(u) => calls.current.onIndex?.(u.cursor.idx ?? null)],
          setSelect: [(u) => {
            if (u.select.width > 8) calls.current.onRange?.(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"));
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          }],
        },
      }, data, node);
    };
    make();
    let width = node.clientWidth;
    const watch = new ResizeObserver(() => {
      if (node.clientWidth !== width && node.clientWidth > 0) { width = node.clientWidth; plot.current.setSize({ width, height }); }
    });
    watch.observe(node);
    addEventListener("theme", make);
    return () => { watch.disconnect(); removeEventListener("theme", make); plot.current?.destroy(); plot.current = null; };
  }, [x, rows, gaps, events, range[0], range[1], unit, bars, height, bottom, most]);
  useEffect(() => language.listen(() => plot.current?.redraw(false, true)), []);
  return html`<div class="chart" role="img" aria-label=${label} ref=${place}></div>`;
}

/** A null that ends a line, at every time up to its neighbours: over a time without a value a line goes on. */
export function ended(row) {
  const carry = (from, step) => { for (let k = from + step; row[k] === undefined && k >= 0 && k < row.length; k += step) row[k] = null; };
  row.map((value, k) => (value === null ? k : -1)).filter((k) => k >= 0).forEach((k) => { carry(k, 1); carry(k, -1); });
  return row;
}
