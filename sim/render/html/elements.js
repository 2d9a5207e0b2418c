// Parts that every page is made of: elements, numbers for people, tables, charts and the theme.
// Text from the data only ever becomes a text node.
'use strict';

const svgSpace = 'http://www.w3.org/2000/svg';

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? '' : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    node.append(child instanceof Node ? child : String(child));
  }
  return node;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS(svgSpace, tag), attributes, children);

// ---- numbers for people ----

const isNumber = (value) => typeof value === 'number' && Number.isFinite(value);
const none = '\u2013';

function digits(value, count) {
  const magnitude = Math.abs(value);
  const decimals = magnitude === 0 ? 0 : Math.max(0, count - 1 - Math.floor(Math.log10(magnitude)));
  return value.toFixed(Math.min(decimals, 6));
}

function duration(seconds) {
  if (!isNumber(seconds)) return none;
  const s = Math.abs(seconds);
  const sign = seconds < 0 ? '\u2212' : '';
  if (s < 5e-10) return '0 s';
  if (s < 1e-3) return `${sign}${digits(s * 1e6, 3)} \u00b5s`;
  if (s < 1) return `${sign}${digits(s * 1e3, 3)} ms`;
  if (s < 100) return `${sign}${digits(s, 3)} s`;
  const minutes = Math.round(s / 60);
  const hours = Math.round(s / 3600);
  const two = (a, high, b, low) => `${sign}${a} ${high}${b ? ` ${b} ${low}` : ''}`;
  if (s < 3600) return two(Math.floor(Math.round(s) / 60), 'min', Math.round(s) % 60, 's');
  if (s < 172800) return two(Math.floor(minutes / 60), 'h', minutes % 60, 'min');
  return two(Math.floor(hours / 24), 'd', hours % 24, 'h');
}

function scaled(value, base, units, unit) {
  if (!isNumber(value)) return none;
  let step = 0;
  let number = value;
  while (Math.abs(number) >= base && step + 1 < units.length) {
    number /= base;
    ++step;
  }
  return `${digits(number, 3)} ${units[step]}${unit}`;
}
const bytes = (value) => scaled(value, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB'], '');
const rate = (value) => scaled(value, 1000, ['B', 'kB', 'MB', 'GB', 'TB'], '/s');
const flops = (value) => scaled(value, 1000, ['', 'k', 'M', 'G', 'T', 'P', 'E'], 'FLOP/s');
const percent = (share, count = 1) => (isNumber(share) ? `${(100 * share).toFixed(count)} %` : none);
const signed = (share) =>
  isNumber(share) ? `${share < 0 ? '\u2212' : '+'}${Math.abs(100 * share).toFixed(1)} %` : none;
const whole = (value) => (isNumber(value) ? Math.round(value).toLocaleString('en') : none);
const integer = (value) => (Number.isInteger(value) ? whole(value) : '');
const plain = (value) => (isNumber(value) ? Number(value.toPrecision(4)).toLocaleString('en') : none);
const watts = (value) => (isNumber(value) ? `${plain(value)} W` : none);
const words = (name) => String(name).replaceAll('_', ' ');
const list = (value) => (Array.isArray(value) ? value : []);
const counted = (count, noun) => `${whole(count)} ${noun}${count === 1 ? '' : 's'}`;
const middle = (value) => (isNumber(value) ? value : value ? value.p50 ?? value.mean : undefined);

function interval(quantiles) {
  if (!quantiles || !isNumber(quantiles.p05)) return 'no interval: no spread is known';
  if (quantiles.p05 === quantiles.p95) return 'exact: all spreads are zero';
  return `${duration(quantiles.p05)} to ${duration(quantiles.p95)}`;
}

// ---- theme ----

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const painted = [];  // what redraws when the colours change

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? 'dark' : 'light';
  painted.forEach((paint) => paint());
}

// ---- tables ----

// columns: {name, text?: is left-aligned, show(row), value?(row): sorts, mark?(row): class}
function table(caption, columns, rows, {sortable = false, most = 1000, rowClass} = {}) {
  const body = el('tbody');
  const heads = columns.map((column) => el('th', {scope: 'col', class: column.text ? 'text' : undefined}));
  let shown = rows.slice(0, most);
  const paint = () => {
    body.replaceChildren(...shown.map((row) => el('tr', {class: rowClass && rowClass(row)},
      columns.map((column) => el('td', {
        class: [column.text ? 'text' : '', column.mark ? column.mark(row) : ''].join(' ').trim() || undefined,
      }, column.show(row))))));
  };
  columns.forEach((column, i) => {
    if (!sortable) {
      heads[i].append(column.name);
      return;
    }
    heads[i].append(el('button', {type: 'button', onclick: () => {
      const up = heads[i].getAttribute('aria-sort') !== 'ascending';
      heads.forEach((head) => head.removeAttribute('aria-sort'));
      heads[i].setAttribute('aria-sort', up ? 'ascending' : 'descending');
      const key = (row) => (column.value ? column.value(row) : column.show(row));
      shown = [...rows].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        const order = isNumber(x) && isNumber(y) ? x - y
          : isNumber(x) ? -1 : isNumber(y) ? 1
          : String(x).localeCompare(String(y), 'en', {numeric: true});
        return up ? order : -order;
      }).slice(0, most);
      paint();
    }}, column.name));
  });
  paint();
  return el('div', {class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption},
    el('table', {}, el('caption', {}, caption), el('thead', {}, el('tr', {}, heads)), body),
    rows.length > most && el('p', {class: 'soft'},
      `${whole(rows.length - most)} further rows are in the JSON.`));
}

const pairs = (caption, rows) => table(caption, [
  {name: 'figure', text: true, show: (row) => row[0]},
  {name: 'value', show: (row) => row[1]},
], rows);

const folded = (title, ...content) => el('details', {}, el('summary', {}, title), ...content);

// ---- charts ----

// Marks on bars: an interval as a whisker, a limit as a line across the bar.
const marks = {
  id: 'marks',
  afterDatasetsDraw(chart) {
    const context = chart.ctx;
    const flat = chart.options.indexAxis === 'y';
    chart.data.datasets.forEach((dataset, number) => {
      const points = chart.getDatasetMeta(number);
      if (points.hidden || !(dataset.whiskers || dataset.limits)) return;
      const scale = chart.scales[flat ? 'x' : dataset.yAxisID || 'y'];
      const line = (from, to) => {
        context.beginPath();
        context.moveTo(...(flat ? from : [...from].reverse()));
        context.lineTo(...(flat ? to : [...to].reverse()));
        context.stroke();
      };
      context.save();
      context.strokeStyle = colour('ink');
      context.lineWidth = 1.5;
      points.data.forEach((point, i) => {
        const across = flat ? point.y : point.x;
        const whisker = (dataset.whiskers || [])[i];
        if (whisker && isNumber(whisker[0]) && isNumber(whisker[1])) {
          const [low, high] = whisker.map((value) => scale.getPixelForValue(value));
          line([low, across], [high, across]);
          line([low, across - 4], [low, across + 4]);
          line([high, across - 4], [high, across + 4]);
        }
        const limit = (dataset.limits || [])[i];
        if (isNumber(limit)) {
          const at = scale.getPixelForValue(limit);
          const half = ((flat ? point.height : point.width) || 16) / 2 + 3;
          line([at, across - half], [at, across + half]);
        }
      });
      context.restore();
    });
  },
};

// Steps between ticks of long durations, in seconds.
const timeSteps = [10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 432000, 864000];

function timeTicks(scale) {
  const span = scale.max - scale.min;
  const step = timeSteps.find((each) => span / each <= 7);
  if (scale.type !== 'linear' || span < 60 || !step) return;
  const ticks = [];
  for (let i = Math.ceil(scale.min / step); i * step <= scale.max; ++i) ticks.push({value: i * step});
  scale.ticks = ticks;
}

// `show` writes the numbers; on a logarithmic axis only those that begin with 1, 2 or 5, or powers
// of two for sizes.
function axis(title, show, more = {}) {
  const leading = (value) => Number(String(Number(value).toExponential())[0]);
  const isShown = (value) => more.type !== 'logarithmic' || (show === bytes
    ? Number.isInteger(Math.log2(value) / 3) : [1, 2, 5].includes(leading(value)));
  return {
    title: {display: Boolean(title), text: title, color: colour('soft')},
    ticks: {color: colour('soft'), maxRotation: 50, autoSkipPadding: 12,
      ...(show ? {callback: (value) => (isShown(value) ? show(value) : '')} : {})},
    grid: {color: colour('line')},
    ...(show === duration ? {afterBuildTicks: timeTicks} : {}),
    ...(show === bytes && more.type === 'logarithmic' ? {afterBuildTicks: (scale) => {
      scale.ticks = [];
      for (let value = 1; value <= scale.max; value *= 8) if (value >= scale.min) scale.ticks.push({value});
    }} : {}),
    ...more,
  };
}

// Ends of an axis that has room for whiskers.
function roomFor(whiskers) {
  const ends = whiskers.filter(Boolean).flat().filter(isNumber);
  return ends.length === 0 ? {} : {suggestedMin: Math.min(0, ...ends), suggestedMax: Math.max(...ends)};
}

// A chart of the given height in pixels; `make` returns Chart.js's configuration in the colours of
// the moment. `says` is what a screen reader is told; the figures are in the table beside it.
function chart(says, height, make) {
  const canvas = el('canvas', {role: 'img', 'aria-label': says});
  const box = el('div', {class: 'chart', style: `height:${height}px`}, canvas);
  let drawn = null;
  painted.push(() => {
    if (drawn) drawn.destroy();
    const config = make();
    drawn = new Chart(canvas, {
      ...config,
      plugins: [marks],
      options: {
        animation: false, responsive: true, maintainAspectRatio: false, color: colour('ink'),
        ...config.options,
        plugins: {
          ...(config.options || {}).plugins,
          legend: {position: 'bottom', labels: {color: colour('ink'), boxWidth: 14}, ...((config.options || {}).plugins || {}).legend},
        },
      },
    });
  });
  return box;
}

const tooltip = (show) => ({callbacks: {label: (item) => `${item.dataset.label}: ${show(item.raw && item.raw.y !== undefined ? item.raw.y : item.raw, item)}`}});

// A stacked bar for each row. parts: {name, colour, of(row)}.
function stackedBars(says, rows, label, parts, show, axisTitle, {limit, limitName} = {}) {
  const used = parts.filter((part) => rows.some((row) => (part.of(row) || 0) > 0));
  return chart(says, 90 + 34 * rows.length, () => ({
    type: 'bar',
    data: {
      labels: rows.map(label),
      datasets: used.map((part, i) => ({
        label: part.name, data: rows.map((row) => part.of(row) || 0), backgroundColor: colour(part.colour),
        limits: limit && i === 0 ? rows.map(limit) : undefined,
      })),
    },
    options: {
      indexAxis: 'y',
      scales: {
        x: axis(axisTitle + (limitName ? `; the line is ${limitName}` : ''), show, {stacked: true, beginAtZero: true,
          suggestedMax: limit ? Math.max(...rows.map((row) => limit(row) || 0)) * 1.03 : undefined}),
        y: axis('', undefined, {stacked: true, ticks: {color: colour('ink')}, grid: {display: false}}),
      },
      plugins: {tooltip: tooltip(show)},
    },
  }));
}

const sectionNames = new Set();

function section(title, lead, ...content) {
  const plainName = title.toLowerCase().replace(/[^a-z0-9]+/g, '-');
  let name = plainName;
  for (let i = 2; sectionNames.has(name); ++i) name = `${plainName}-${i}`;
  sectionNames.add(name);
  return el('section', {id: name, 'aria-labelledby': `${name}-title`},
    el('h2', {id: `${name}-title`}, title), lead && el('p', {class: 'soft'}, lead), ...content);
}

const tiles = (entries) => el('dl', {class: 'tiles'}, entries.filter(Boolean).map(([name, value, more]) =>
  el('div', {class: 'tile'}, el('dt', {}, name), el('dd', {}, value, more && el('small', {}, more)))));

const legend = (entries) => el('ul', {class: 'legend'}, entries.map(([name, paint]) =>
  el('li', {}, el('span', {style: `background:${paint}`}), name)));
