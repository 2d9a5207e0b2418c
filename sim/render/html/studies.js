// Pages that hold many predictions beside each other: scale, sweep, collective, plan.
'use strict';

function scalePage(data) {
  const rows = list(data.rows);
  const first = rows[0] || {};
  const weak = data.scaling === 'weak';
  const quantile = (row, key) => (row.epoch_s || {})[key];
  const points = (of) => rows.map((row) => ({x: row.gpus, y: of(row)}));
  const known = rows.every((row) => isNumber(quantile(row, 'p05')));
  const band = (of) => (known ? [
    {name: '95%', colour: 'a', points: points(of('p95')), plain: true},
    {name: '5%', colour: 'a', points: points(of('p05')), plain: true, fillTo: '-1', fill: 'band'}] : []);
  // Speed-up of a run whose epoch takes a quantile instead of the median.
  const speed = (key) => (row) => row.speed_up * (quantile(row, 'p50') / quantile(row, key));
  const other = {p05: 'p95', p95: 'p05'};
  const last = rows[rows.length - 1] || {};
  const ideal = (row) => row.gpus / first.gpus;
  const xTicks = {xShow: integer, x: {type: 'linear', min: Math.min(...rows.map((row) => row.gpus)), max: Math.max(...rows.map((row) => row.gpus))}};
  const details = () => folded('Table', table('Rows', [
    {name: 'GPUs', show: (row) => whole(row.gpus), value: (row) => row.gpus},
    {name: 'epoch', show: (row) => duration(quantile(row, 'p50')), value: (row) => quantile(row, 'p50')},
    {name: '90% prediction interval', show: (row) => interval(row.epoch_s), value: (row) => quantile(row, 'p05')},
    {name: 'images/s', show: (row) => plain(row.samples_per_s), value: (row) => row.samples_per_s},
    {name: 'speed-up', show: (row) => plain(row.speed_up), value: (row) => row.speed_up},
    {name: 'efficiency', show: (row) => percent(row.efficiency, 0), value: (row) => row.efficiency},
    {name: 'exposed communication', show: (row) => percent(row.communication_share, 0), value: (row) => row.communication_share},
    {name: 'straggler wait', show: (row) => percent(row.wait_s / (row.step_s || {}).p50, 0), value: (row) => row.wait_s},
    {name: 'bottleneck', text: true, show: (row) => row.bottleneck || none},
  ], rows, {sortable: true}));
  const best = rows.reduce((a, b) => (b.samples_per_s > a.samples_per_s ? b : a), first);
  return {
    title: `${weak ? 'Weak' : 'Strong'} scaling over ${whole(first.gpus)} to ${whole(last.gpus)} GPUs`,
    kind: 'Scaling',
    content: [
      el('p', {class: 'answer'}, `With ${whole(last.gpus)} GPUs an epoch takes ${duration(quantile(last, 'p50'))}, a speed-up of ${plain(last.speed_up)} over ${counted(first.gpus, 'GPU')}` +
        `${best.gpus === last.gpus ? '' : `; ${whole(best.gpus)} GPUs are faster, at ${duration(quantile(best, 'p50'))}`}.`),
      warningsOf(last),
      section('Epoch time', weak ? 'The data per rank stays; the ideal is a level line.' : 'The data set stays; the ideal halves with twice the GPUs.',
        lineChart('Epoch time by number of GPUs', 280, [
          {name: 'median', colour: 'a', points: points((row) => quantile(row, 'p50'))},
          ...band((key) => (row) => quantile(row, key)),
          {name: 'ideal', colour: 'ideal', dash: [5, 4], plain: true, points: points((row) => quantile(first, 'p50') / (weak ? 1 : ideal(row)))},
        ], 'GPUs', 'epoch', duration, xTicks), details()),
      section('Speed-up', `Images per second against ${counted(first.gpus, 'GPU')}.`,
        lineChart('Speed-up by number of GPUs', 280, [
          {name: 'median', colour: 'a', points: points((row) => row.speed_up)},
          ...band((key) => speed(other[key])),
          {name: 'ideal', colour: 'ideal', dash: [5, 4], plain: true, points: points(ideal)},
        ], 'GPUs', 'speed-up', plain, xTicks), details()),
      section('Efficiency', 'Speed-up by number of GPUs; 100% is ideal.',
        lineChart('Efficiency by number of GPUs', 240, [
          {name: 'efficiency', colour: 'a', points: points((row) => row.efficiency)},
          ...band((key) => (row) => speed(other[key])(row) / ideal(row)),
          {name: 'ideal', colour: 'ideal', dash: [5, 4], plain: true, points: points(() => 1)},
        ], 'GPUs', 'efficiency', (value) => percent(value, 0), xTicks), details()),
      section('Where a step goes', 'Mean over ranks, by number of GPUs.',
        stackedBars('A step by phase and number of GPUs', rows, (row) => counted(row.gpus, 'GPU'), [
          ...stepParts.map((part) => ({...part, of: (row) => (row.phases || {})[part.key]})),
          {name: 'exposed communication', colour: 'exposed', of: (row) => row.exposed_communication_s},
          {name: 'straggler wait', colour: 'wait', of: (row) => row.wait_s},
        ], duration, 'seconds of a step'), details()),
      parametersSection(data.resolved),
    ],
  };
}

// ---- sweep ----

const sweepFigures = [
  {name: 'epoch time', key: 'epoch_s', show: duration},
  {name: 'time of the run', key: 'total_s', show: duration},
  {name: 'images/s', key: 'samples_per_s', show: plain, more: true},
  {name: 'exposed communication', key: 'communication_share', show: (value) => percent(value, 0)},
  {name: 'straggler wait', key: 'wait_share', show: (value) => percent(value, 0)},
];
const short = (key) => String(key).split('.').pop().replaceAll('_', ' ');

function heatMap(rows, keys, vary, figureOf) {
  const values = rows.map((row) => row[figureOf.key]).filter(isNumber);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const cell = (a, b) => {
    const row = rows.find((each) => (each.keys || {})[keys[0]] === a && (each.keys || {})[keys[1]] === b);
    const value = row && row[figureOf.key];
    if (!row || !isNumber(value)) return el('td', {}, row && row.problem ? 'not possible' : none);
    const share = high > low ? (value - low) / (high - low) : 0;
    const good = figureOf.more ? share : 1 - share;
    return el('td', {title: row.bottleneck, style: `background:color-mix(in srgb, var(--backward) ${Math.round(75 * good)}%, var(--ground))`},
      figureOf.show(value), row.fits === false && el('small', {class: 'bad'}, ' out of memory'));
  };
  return el('div', {class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Heat map'},
    el('table', {class: 'heat'}, el('caption', {}, `${figureOf.name}; the stronger the colour, the better`),
      el('thead', {}, el('tr', {}, el('th', {scope: 'col'}, `${short(keys[0])} \\ ${short(keys[1])}`),
        list(vary[keys[1]]).map((b) => el('th', {scope: 'col'}, b)))),
      el('tbody', {}, list(vary[keys[0]]).map((a) => el('tr', {}, el('th', {scope: 'row'}, a), list(vary[keys[1]]).map((b) => cell(a, b)))))));
}

function sweepPage(data) {
  const rows = list(data.rows);
  const vary = data.vary || {};
  const keys = Object.keys(vary);
  const good = rows.filter((row) => isNumber(row.epoch_s));
  const best = good.filter((row) => row.fits !== false).reduce((a, b) => (!a || b.epoch_s < a.epoch_s ? b : a), null);
  const label = (row) => keys.map((key) => (row.keys || {})[key]).join(', ');
  const place = el('div', {});
  let drawing = null;
  if (keys.length === 2) {
    const choice = el('select', {'aria-label': 'Figure of the heat map', onchange: () => paint()},
      sweepFigures.map((each, i) => el('option', {value: i}, each.name)));
    const paint = () => place.replaceChildren(heatMap(rows, keys, vary, sweepFigures[Number(choice.value)]));
    paint();
    drawing = [el('p', {class: 'controls'}, el('label', {}, 'Show ', choice)), place];
  }
  const bars = good.slice(0, 60);
  const whiskers = bars.map((row) => [row.epoch_p05_s, row.epoch_p95_s]);
  const columns = [
    ...keys.map((key) => ({name: short(key), show: (row) => (row.keys || {})[key]})),
    {name: 'epoch', show: (row) => duration(row.epoch_s), value: (row) => row.epoch_s},
    {name: '90% prediction interval', show: (row) => interval({p05: row.epoch_p05_s, p95: row.epoch_p95_s}), value: (row) => row.epoch_p05_s},
  ];
  return {
    title: `Sweep over ${keys.map(short).join(' and ')}`,
    kind: 'Sweep',
    content: [
      el('p', {class: 'answer'}, best ? `Of ${whole(rows.length)} configurations, ${keys.map((key) => `${short(key)} ${(best.keys || {})[key]}`).join(' and ')} has the shortest epoch that fits into memory: ${duration(best.epoch_s)}.`
        : `None of ${whole(rows.length)} configurations fits into memory.`),
      drawing && section('Heat map', null, drawing),
      section('Epoch time by configuration', 'Bars are medians, whiskers 90% prediction intervals.',
        keys.length === 1 && good.every((row) => isNumber(Number(row.keys[keys[0]])))
          ? lineChart(`Epoch time by ${short(keys[0])}`, 280, [
            {name: 'median', colour: 'a', points: good.map((row) => ({x: Number(row.keys[keys[0]]), y: row.epoch_s}))},
            ...(good.every((row) => isNumber(row.epoch_p05_s)) ? [
              {name: '95%', colour: 'a', plain: true, points: good.map((row) => ({x: Number(row.keys[keys[0]]), y: row.epoch_p95_s}))},
              {name: '5%', colour: 'a', plain: true, fillTo: '-1', fill: 'band', points: good.map((row) => ({x: Number(row.keys[keys[0]]), y: row.epoch_p05_s}))}] : []),
          ], short(keys[0]), 'epoch', duration)
          : chart('Epoch time by configuration', 300, () => ({
            type: 'bar',
            data: {labels: bars.map(label), datasets: [{label: 'epoch', data: bars.map((row) => row.epoch_s), backgroundColor: colour('a'),
              whiskers}]},
            options: {scales: {x: axis(keys.map(short).join(', ')), y: axis('epoch', duration, {beginAtZero: true, ...roomFor(whiskers)})}, plugins: {tooltip: tooltip(duration)}},
          })),
        folded('Table', table('Epoch time', columns, good, {sortable: true}))),
      section('All configurations', 'Press a heading to sort.', table('Configurations', [
        ...columns,
        {name: 'run', show: (row) => duration(row.total_s), value: (row) => row.total_s},
        {name: 'images/s', show: (row) => plain(row.samples_per_s), value: (row) => row.samples_per_s},
        {name: 'exposed', show: (row) => percent(row.communication_share, 0), value: (row) => row.communication_share},
        {name: 'straggler wait', show: (row) => percent(row.wait_share, 0), value: (row) => row.wait_share},
        {name: 'memory', text: true, show: (row) => (row.fits === undefined ? none : row.fits ? 'fits' : 'out of memory'), mark: (row) => (row.fits === false ? 'bad' : '')},
        {name: 'remark', text: true, show: (row) => row.problem || row.bottleneck || ''},
      ], rows, {sortable: true})),
      parametersSection(data.resolved),
    ],
  };
}

// ---- collective ----

function collectivePage(data) {
  const rows = list(data.rows).filter((row) => row.bytes > 0);
  const last = rows[rows.length - 1] || {};
  const points = (of) => rows.map((row) => ({x: row.bytes, y: of(row)}));
  const options = {logX: true, xShow: bytes};
  const details = () => folded('Table', table('Sizes', [
    {name: 'size', show: (row) => bytes(row.bytes), value: (row) => row.bytes},
    {name: 'algorithm', text: true, show: (row) => row.algorithm},
    {name: 'time', show: (row) => duration(row.time_s), value: (row) => row.time_s},
    {name: 'algbw', show: (row) => rate(row.algbw_bytes_per_s), value: (row) => row.algbw_bytes_per_s},
    {name: 'busbw', show: (row) => rate(row.busbw_bytes_per_s), value: (row) => row.busbw_bytes_per_s},
  ], rows, {sortable: true}));
  return {
    title: `${data.collective} among ${whole(data.ranks)} ranks`,
    kind: 'Collective',
    content: [
      el('p', {class: 'answer'}, `${bytes(last.bytes)} take ${duration(last.time_s)}, a bus bandwidth of ${rate(last.busbw_bytes_per_s)} (${last.algorithm}).`),
      section('Bandwidth by size', 'As nccl-tests defines algbw and busbw.', lineChart('Bandwidth by size', 300, [
        {name: 'busbw', colour: 'a', points: points((row) => row.busbw_bytes_per_s)},
        {name: 'algbw', colour: 'b', points: points((row) => row.algbw_bytes_per_s)}], 'size', 'bandwidth', rate, options), details()),
      section('Time by size', 'Time of one call, every rank ready at once.', lineChart('Time by size', 300, [
        {name: 'time', colour: 'a', points: points((row) => row.time_s)}], 'size', 'time', duration, {...options, y: {type: 'logarithmic', beginAtZero: false}}), details()),
    ],
  };
}

// ---- plan ----

function planPage(data) {
  const base = {...data.base, change: 'the file as it stands'};
  const options = list(data.options);
  const rows = [base, ...options.filter((row) => Object.keys(row.set || {}).length > 0)];
  const time = (row) => middle(row.total_s);
  const best = options[0];
  const priced = rows.filter((row) => isNumber(row.price) && isNumber(time(row)));
  const fits = (row) => (row.memory ? row.memory.fits : undefined);
  const setting = ([key, value]) => `${key}=${typeof value === 'object' ? JSON.stringify(value) : value}`;
  const columns = [
    {name: 'change', text: true, show: (row) => row.change || row.what || none},
    {name: 'run', show: (row) => duration(time(row)), value: time},
    {name: '90% prediction interval', show: (row) => (row.total_interval_s ? interval(row.total_interval_s) : none)},
    {name: 'epoch', show: (row) => duration(middle(row.epoch_s)), value: (row) => middle(row.epoch_s)},
    {name: 'price', show: (row) => plain(row.price), value: (row) => row.price},
    {name: 'energy (kWh)', show: (row) => plain(row.energy_kwh), value: (row) => row.energy_kwh},
    {name: 'time saved', show: (row) => signed(row.gain_share), value: (row) => row.gain_share, mark: (row) => (row.gain_share > 0 ? 'good' : row.gain_share < 0 ? 'bad' : '')},
    {name: 'better in', show: (row) => (isNumber(row.p_better) ? `${percent(row.p_better, 0)} of runs` : none), value: (row) => row.p_better},
    {name: 'memory', text: true, show: (row) => (fits(row) === undefined ? none : fits(row) ? 'fits' : 'out of memory'), mark: (row) => (fits(row) === false ? 'bad' : '')},
    {name: 'keys', text: true, show: (row) => row.problem || Object.entries(row.set || {}).map(setting).join(', ')},
  ];
  // Columns that say nothing here are left out.
  const filled = (entries) => columns.filter((column) => entries.some((row) => ![none, ''].includes(column.show(row))));
  const drawn = rows.filter((row) => isNumber(time(row))).slice(0, 30);
  const whiskers = drawn.map((row) => (row.total_interval_s && isNumber(row.total_interval_s.p05) ? [row.total_interval_s.p05, row.total_interval_s.p95] : null));
  const all = (entries, title = 'Options') => table(title, filled(entries), entries, {sortable: true});
  const part = (title, lead, entries) => (list(entries).length === 0 ? null : section(title, lead, all(list(entries), title)));
  const batches = data.micro_batches;
  const next = list(data.next);
  return {
    title: 'Plan: what to change',
    kind: 'Plan',
    content: [
      el('p', {class: 'answer'}, data.headline || (best ? `Best: ${best.change}; the run then takes ${duration(time(best))}.` : 'Nothing that was tried is better than the file as it stands.')),
      data.is_feasible === false && data.miss && el('p', {class: 'warning'}, data.miss),
      list(data.notes).map((note) => el('p', {class: 'warning'}, note)),
      data.limits_now && el('p', {}, `Now: ${data.limits_now}.`),
      section('Options against the file as it stands', 'Time of the whole run; whiskers are 90% prediction intervals.',
        chart('Time of the run by option', 90 + 26 * drawn.length, () => ({
          type: 'bar',
          data: {labels: drawn.map((row) => String(row.change || '').slice(0, 60)), datasets: [{label: 'run', data: drawn.map(time), backgroundColor: drawn.map((row) => colour(row === base ? 'ideal' : 'a')),
            whiskers,
            limits: isNumber(time(base)) ? drawn.map(() => time(base)) : undefined}]},
          options: {indexAxis: 'y', scales: {x: axis('run; the line is the file as it stands', duration, {beginAtZero: true, ...roomFor(whiskers)}), y: axis('')}, plugins: {tooltip: tooltip(duration), legend: {display: false}}},
        })), folded('Table', all(rows))),
      priced.length > 1 && section('Time against price', 'Down and left is better.',
        chart('Time of the run against its price', 300, () => ({
          type: 'scatter',
          data: {datasets: [
            {label: 'options', data: priced.filter((row) => row !== base).map((row) => ({x: row.price, y: time(row), name: row.change})), backgroundColor: colour('a'), pointRadius: 5},
            ...(isNumber(base.price) ? [{label: base.change, data: [{x: base.price, y: time(base), name: base.change}], backgroundColor: colour('b'), pointRadius: 7}] : [])]},
          options: {scales: {x: axis('price', plain), y: axis('run', duration)}, plugins: {tooltip: {callbacks: {label: (item) => `${item.raw.name}: ${duration(item.raw.y)}, ${plain(item.raw.x)}`}}}},
        })), folded('Table', all(priced))),
      part('Without a part of the cluster', 'Each node or kind of GPU left out.', data.without),
      part('With more GPUs', 'Each kind of GPU added.', data.with),
      list(batches).length > 0 && section('Balanced micro-batches', 'The split of the batch at which all ranks finish together.',
        table('Micro-batches', [{name: 'rank', text: true, show: (row) => `rank ${row.rank}`}, {name: 'micro-batch', show: (row) => whole(row.size)}],
          list(batches).map((size, rank) => ({size, rank})), {most: 256})),
      next.length > 0 && section('What limits the best option', 'What it would gain if a part were faster.', table('What next', [
        {name: 'change', text: true, show: (row) => row.change}, {name: 'time saved', show: (row) => signed(row.gain_share)}], next)),
      data.search && section('The search', null, folded('Numbers', pairs('The search', flattened(data.search, '', []).map(([key, value]) => [words(key), value])))),
      parametersSection(data.resolved),
    ],
  };
}
