// A prediction, or a real run, of `vitsim-report/1`.
'use strict';

const stepParts = [
  {name: 'data load', colour: 'data_load', key: 'data_load_s'},
  {name: 'forward', colour: 'forward', key: 'forward_s'},
  {name: 'backward', colour: 'backward', key: 'backward_s'},
  {name: 'optimizer', colour: 'optimizer', key: 'optimizer_s'},
  {name: 'other', colour: 'other', key: 'other_s'},
];
const memoryParts = [
  {name: 'weights', colour: 'forward'}, {name: 'gradients', colour: 'backward'}, {name: 'optimizer', colour: 'optimizer'},
  {name: 'buffers', colour: 'parameter'}, {name: 'activations', colour: 'exposed'}, {name: 'constant', colour: 'other'},
];

const bodyOf = (report) => report.prediction || report.measurement || {};
const sum = (values) => values.reduce((a, b) => a + (b || 0), 0);

function members(ranks) {
  const last = ranks.first_rank + ranks.count - 1;
  return ranks.count === 1 ? `rank ${ranks.first_rank}` : `${whole(ranks.count)} ranks like ${ranks.first_rank}`;
}
const className = (ranks) => `${members(ranks)}: ${ranks.gpu}`;

function trainingWords(resolved) {
  const training = resolved && resolved.training;
  if (!training) return null;
  const model = typeof training.model === 'string' ? training.model : (training.model || {}).name;
  return {model, precision: training.precision, epochs: training.epochs, sync: training.gradient_sync,
    dataset: (training.dataset || {}).name};
}

function reportTitle(report) {
  const words_ = trainingWords(report.resolved);
  const body = bodyOf(report);
  const gpus = sum(list(body.rank_classes).map((ranks) => ranks.count)) || list(body.ranks).length;
  const what = words_ ? `${words_.model} in ${words_.precision} on ` : '';
  return `${what}${counted(gpus, 'GPU')}`;
}

function answerSentence(report) {
  const body = bodyOf(report);
  const measured = report.source === 'measured';
  const epoch = body.epoch_s || {};
  const total = body.total_s || {};
  const words_ = trainingWords(report.resolved) || {};
  const parts = [];
  if (epoch.p50 > 0) {
    parts.push(`An epoch ${measured ? 'took' : 'takes'} ${duration(epoch.p50)}`);
    if (!measured && isNumber(epoch.p05) && epoch.p05 !== epoch.p95) parts.push(` (90% prediction interval: ${interval(epoch)})`);
  } else {
    parts.push(`A step ${measured ? 'took' : 'takes'} ${duration((body.step_s || {}).p50)}`);
  }
  if (total.p50 > 0) {
    const epochs = isNumber(words_.epochs) ? ` of ${counted(words_.epochs, 'epoch')}` : '';
    parts.push(`, the whole run${epochs} ${duration(total.p50)}`);
  }
  return `${parts.join('')}.`;
}

// ---- the epoch's distribution: a curve with the three quantiles ----

function epochChart(quantiles) {
  const left = (quantiles.p50 - quantiles.p05) / 1.645 || 1e-9;
  const right = (quantiles.p95 - quantiles.p50) / 1.645 || 1e-9;
  const points = [];
  const from = quantiles.p50 - 3 * left;
  const to = quantiles.p50 + 3 * right;
  for (let i = 0; i <= 120; ++i) {
    const x = from + ((to - from) * i) / 120;
    const z = (x - quantiles.p50) / (x < quantiles.p50 ? left : right);
    points.push({x, y: Math.exp(-z * z / 2)});
  }
  const inside = points.filter((point) => point.x >= quantiles.p05 && point.x <= quantiles.p95);
  return chart(`Distribution of the epoch over new runs: median ${duration(quantiles.p50)}, 90% prediction interval ${interval(quantiles)}`, 220, () => ({
    type: 'line',
    data: {datasets: [
      {label: '90% prediction interval', data: inside, borderColor: colour('a'), backgroundColor: colour('band'), fill: 'origin', pointRadius: 0, borderWidth: 2},
      {label: 'all new runs', data: points, borderColor: colour('a'), pointRadius: 0, borderWidth: 1, borderDash: [4, 3]},
      {label: 'median', data: [{x: quantiles.p50, y: 0}, {x: quantiles.p50, y: 1}], borderColor: colour('b'), pointRadius: 0, borderWidth: 2},
    ]},
    options: {
      scales: {x: axis('epoch', duration, {type: 'linear'}), y: {display: false, beginAtZero: true}},
      plugins: {tooltip: {enabled: false}},
    },
  }));
}

function epochSection(body, measured) {
  const epoch = body.epoch_s || {};
  const rows = [['epoch', body.epoch_s], ['full step', body.step_s], ['run', body.total_s]].filter(([, q]) => q && q.p50 > 0);
  const details = table('Quantiles', [
    {name: 'figure', text: true, show: ([name]) => name},
    {name: '5%', show: ([, q]) => duration(q.p05)},
    {name: 'median', show: ([, q]) => duration(q.p50)},
    {name: '95%', show: ([, q]) => duration(q.p95)},
    {name: 'mean', show: ([, q]) => duration(q.mean)},
  ], rows);
  if (measured) return section('Times', 'Quantiles over what the run recorded.', details);
  if (!isNumber(epoch.p05) || epoch.p05 === epoch.p95) {
    return section('How long, and how sure', interval(epoch), details);
  }
  return section('How long, and how sure',
    'In 90% of new real runs the median epoch falls into the shaded part. The curve is drawn through the 5%, 50% and 95% quantiles.',
    epochChart(epoch), folded('Table', details));
}

// ---- where a step goes ----

function stepSection(body) {
  const most = 40;
  const classes = list(body.rank_classes);
  const mean = {count: sum(classes.map((ranks) => ranks.count)), gpu: 'mean', phases: body.phases,
    exposed_communication_s: body.exposed_communication_s, wait_s: body.wait_s};
  const rows = [...classes].sort((a, b) => b.compute_s - a.compute_s).slice(0, most);
  // Real runs, and reports of earlier versions, know phases of the mean alone.
  const known = classes.every((ranks) => ranks.phases);
  const shown = classes.length > 1 ? (known ? rows : [mean, ...rows]) : [mean];
  const inRest = (row) => (row.phases ? 0 : Math.max(0, (body.step_s || {}).p50 - row.compute_s - row.wait_s));
  const parts = [
    ...stepParts.map((part) => ({...part, of: (row) => (row.phases ? row.phases[part.key] : 0)})),
    {name: 'compute, all phases', colour: 'tensor', of: (row) => (row.phases ? 0 : row.compute_s)},
    {name: 'exposed communication', colour: 'exposed', of: (row) => (row.phases ? row.exposed_communication_s : inRest(row))},
    {name: 'straggler wait', colour: 'wait', of: (row) => row.wait_s},
  ].filter((part) => shown.some((row) => part.of(row) > 0));
  const label = (row) => (row.gpu === 'mean' && row.phases === body.phases ? 'mean over ranks' : className(row));
  const tableRows = classes.length > 1 ? [mean, ...rows] : [mean];
  return section('Where a step goes',
    'One full step of each class of ranks, the slowest first. Straggler wait is time spent waiting for slower ranks; exposed communication is communication that compute does not hide.',
    stackedBars('A full step by phase for each class of ranks', shown, label, parts, duration, 'seconds of a step'),
    classes.length > most && el('p', {class: 'soft'}, `${classes.length - most} faster classes are not drawn.`),
    folded('Table', table('A full step by phase', [
      {name: 'ranks', text: true, show: label},
      ...parts.map((part) => ({name: part.name, show: (row) => duration(part.of(row) || 0)})),
      {name: 'step', show: () => duration((body.step_s || {}).p50)},
    ], tableRows)));
}

function timelineSection(body, measured) {
  const tracks = list(body.timeline).filter((track) => list(track.spans).length > 0);
  if (tracks.length === 0) return null;
  const rows = tracks.flatMap((track) => track.spans.map((span) => ({track, span})));
  return section('One step as a timeline',
    `The upper lane of a rank is loading and compute, the lower one its communication. ${measured ? 'A settled step of the run.' : 'The step is typical and has no noise.'}`,
    timelineDrawing(tracks),
    folded('Table', table('Spans of the step', [
      {name: 'rank', text: true, show: (row) => `${row.track.rank} (${row.track.name})`},
      {name: 'phase', text: true, show: (row) => (row.span.straggler_wait ? 'straggler wait' : words(row.span.phase))},
      {name: 'stream', text: true, show: (row) => row.span.stream},
      {name: 'begins', show: (row) => duration(row.span.begin_s)},
      {name: 'takes', show: (row) => duration(row.span.end_s - row.span.begin_s)},
    ], rows, {most: 500})));
}

// ---- cluster, ranks ----

function rankTable(body) {
  const classes = list(body.rank_classes);
  return table('Classes of ranks: ranks that the model cannot tell apart', [
    {name: 'ranks', text: true, show: members, value: (row) => row.first_rank},
    {name: 'GPU', text: true, show: (row) => row.gpu},
    {name: 'first node', text: true, show: (row) => row.node || none},
    {name: 'micro-batch', show: (row) => whole(row.micro_batch), value: (row) => row.micro_batch},
    {name: 'compute', show: (row) => duration(row.compute_s), value: (row) => row.compute_s},
    {name: 'straggler wait', show: (row) => duration(row.wait_s), value: (row) => row.wait_s},
    {name: 'straggler in', show: (row) => percent(row.late_share), value: (row) => row.late_share},
    {name: 'epoch time saved at median speed', show: (row) => (row.gain_s > 0 ? duration(row.gain_s) : none), value: (row) => row.gain_s},
    {name: 'largest micro-batch', show: (row) => (isNumber(row.largest_micro_batch) ? whole(row.largest_micro_batch) : none), value: (row) => row.largest_micro_batch},
  ], classes, {sortable: true, most: 200});
}

function clusterSection(report) {
  const body = bodyOf(report);
  const drawing = clusterDrawing(report.resolved || {}, body);
  const links = list(body.links);
  return section('The cluster',
    'Each square is a GPU, coloured by its compute in a step; stragglers are framed. A link is as wide as the share of its capacity that a step uses.',
    drawing, rankTable(body),
    links.length > 0 && folded('Links', table('What a step puts on the most loaded link of each place', [
      {name: 'place', text: true, show: (row) => row.name},
      {name: 'link', text: true, show: (row) => row.kind},
      {name: 'bytes a step', show: (row) => bytes(row.bytes)},
      {name: 'bandwidth', show: (row) => rate(row.bandwidth_bytes_per_s)},
      {name: 'share of capacity', show: (row) => percent(row.share), value: (row) => row.share},
    ], links, {sortable: true, most: 100})));
}

// ---- memory, communication, cost ----

function memorySection(body) {
  const rows = [];
  for (const ranks of list(body.rank_classes)) {
    const same = rows.find((row) => row.gpu === ranks.gpu && row.micro_batch === ranks.micro_batch &&
      row.memory.total_bytes === (ranks.memory || {}).total_bytes);
    if (ranks.memory && ranks.memory.total_bytes > 0 && !same) rows.push(ranks);
  }
  if (rows.length === 0) return null;
  const keys = new Set(rows.flatMap((row) => Object.keys(row.memory.parts || {})));
  const known = memoryParts.filter((part) => keys.has(part.name));
  const more = [...keys].filter((key) => !memoryParts.some((part) => part.name === key)).map((name) => ({name, colour: 'tensor'}));
  const gib = (part) => (row) => ((row.memory.parts || {})[part.name] || 0) / 2 ** 30;
  const parts = [...known, ...more].map((part) => ({...part, name: words(part.name), of: gib(part)}));
  const measured = sum(rows.map((row) => sum(parts.map((part) => part.of(row))))) === 0;
  const drawn = measured ? [{name: 'in use', colour: 'forward', of: (row) => row.memory.total_bytes / 2 ** 30}] : parts;
  const label = (row) => `${row.gpu}, micro-batch ${row.micro_batch}`;
  const limit = (row) => (isNumber(row.memory.capacity_bytes) ? row.memory.capacity_bytes / 2 ** 30 : undefined);
  return section('Memory',
    rows.some((row) => row.memory.fits === false) ? 'Out of memory: at least one kind of GPU cannot hold this training.' : 'Memory of one rank by part, against what its GPU has.',
    stackedBars('Memory by part for each kind of GPU', rows.slice(0, 40), label, drawn, (value) => `${plain(value)} GiB`, 'GiB of a rank', {limit, limitName: "the GPU's capacity"}),
    folded('Table', table('Memory of one rank', [
      {name: 'GPU', text: true, show: label},
      ...drawn.map((part) => ({name: part.name, show: (row) => bytes(part.of(row) * 2 ** 30)})),
      {name: 'total', show: (row) => bytes(row.memory.total_bytes)},
      ...(rows.some((row) => isNumber(row.memory.allocated_bytes)) ? [{name: 'held by tensors', show: (row) => (isNumber(row.memory.allocated_bytes) ? bytes(row.memory.allocated_bytes) : none)}] : []),
      {name: 'capacity', show: (row) => (isNumber(row.memory.capacity_bytes) ? bytes(row.memory.capacity_bytes) : 'unknown')},
      {name: 'largest micro-batch', show: (row) => (isNumber(row.largest_micro_batch) ? whole(row.largest_micro_batch) : none)},
    ], rows)));
}

// What the GPUs of a real run drew, where their driver tells.
function powerSection(body) {
  const rows = list(body.ranks).filter((rank) => rank.power);
  if (rows.length === 0) return null;
  const kilowattHours = sum(rows.map((rank) => rank.power.energy_j)) / 3.6e6;
  return section('Power', `The GPUs drew ${plain(kilowattHours)} kWh while the run lasted, by their own sensors.`,
    table('Power by rank', [
      {name: 'rank', show: (rank) => whole(rank.rank)},
      {name: 'GPU', text: true, show: (rank) => rank.gpu},
      {name: 'on average', show: (rank) => watts(rank.power.mean_w)},
      {name: 'at most', show: (rank) => watts(rank.power.peak_w)},
      {name: 'energy', show: (rank) => `${plain(rank.power.energy_j / 3.6e6)} kWh`},
    ], rows));
}

function communicationSection(body) {
  let calls = list(body.communication);
  if (calls.length === 0) {
    const busy = sum(Object.entries(body.phases || {}).filter(([key]) => /all_reduce|all_gather|tensor_parallel|pipeline_send/.test(key)).map(([, value]) => value));
    if (!(busy > 0)) return null;
    calls = [{collective: 'all of them', busy_s: busy, exposed_s: body.exposed_communication_s}];
  }
  const exposed = (call) => call.exposed_s || 0;
  const parts = [
    {name: 'exposed', colour: 'exposed', of: exposed},
    {name: 'beside compute', colour: 'hidden', of: (call) => Math.max(0, call.busy_s - exposed(call))},
  ];
  const label = (call) => [call.collective, call.phase && words(call.phase), call.group].filter(Boolean).join(', ');
  return section('Communication',
    'Collectives of one step of a rank. What runs beside compute adds nothing to the step.',
    stackedBars('Communication by collective', calls, label, parts, duration, 'seconds of a step'),
    folded('Table', table('Collectives of a step', [
      {name: 'collective', text: true, show: label},
      {name: 'calls', show: (call) => whole(call.calls)},
      {name: 'bytes', show: (call) => bytes(call.bytes)},
      {name: 'busy', show: (call) => duration(call.busy_s)},
      {name: 'exposed', show: (call) => duration(call.exposed_s)},
    ], calls)));
}

// Tables of keys that may be there: durations by their "_s", shares by their name.
function figure(key, value) {
  if (value && typeof value === 'object' && !Array.isArray(value)) {
    return isNumber(value.p05) ? `${duration(middle(value))} (${interval(value)})` : duration(middle(value));
  }
  if (!isNumber(value)) return value === null || value === undefined ? none : String(value);
  if (/_s$/.test(key)) return duration(value);
  if (/bytes$/.test(key)) return bytes(value);
  if (/share|utilisation/.test(key)) return percent(value);
  return plain(value);
}

function keysSection(title, lead, object) {
  if (!object || typeof object !== 'object') return null;
  const rows = Object.entries(object).map(([key, value]) => [words(key.replace(/_s$/, '').replace(/_(kwh|kg)$/, ' ($1)')), figure(key, value)]);
  return rows.length === 0 ? null : section(title, lead, pairs(title, rows));
}

function goodputSection(body) {
  const goodput = body.goodput;
  if (!goodput) return null;
  const lost = [['lost', 'lost_s', 'wait'], ['checkpoints', 'checkpoint_s', 'optimizer'], ['restarts', 'restart_s', 'exposed']];
  const total = middle(goodput.total_s) || 0;
  const rows = [{name: 'run'}];
  const overhead = sum(lost.map(([, key]) => middle(goodput[key])));
  const parts = [{name: 'training', colour: 'forward', of: () => Math.max(0, total - overhead)},
    ...lost.map(([name, key, paint]) => ({name, colour: paint, of: () => middle(goodput[key]) || 0}))];
  const found = keysSection('With failures', 'What failures, checkpoints and restarts make of the run.', goodput);
  if (found && total > 0) found.insertBefore(stackedBars('The run with failures', rows, (row) => row.name, parts, duration, 'time of the run'), found.children[2]);
  return found;
}

function eventsSection(body) {
  const events = list(body.events);
  return events.length === 0 ? null : section('Disturbances', 'What each disturbance of the cluster file costs the run.',
    table('Disturbances', [
      {name: 'disturbance', text: true, show: (row) => row.what},
      {name: 'costs the run', show: (row) => duration(row.cost_s)},
    ], events));
}

// ---- sources and parameters ----

function basisSection(body) {
  const rows = list(body.basis);
  return rows.length === 0 ? null : section('Where the figures come from', null,
    table('Sources', [
      {name: 'part', text: true, show: (row) => row.part},
      {name: 'kind', text: true, show: (row) => (row.kind === 'given' ? 'as specified' : words(row.kind))},
      {name: 'source', text: true, show: (row) => row.detail},
      {name: 'mean leave-one-out error', show: (row) => percent(row.error)},
    ], rows));
}

function flattened(value, path, rows) {
  if (rows.length > 2000) return rows;
  if (value && typeof value === 'object') {
    const entries = Object.entries(value);
    if (entries.length === 0) rows.push([path, Array.isArray(value) ? 'none' : '{}']);
    for (const [key, inner] of entries) flattened(inner, path ? `${path}.${key}` : key, rows);
  } else {
    rows.push([path, value === null ? none : String(value)]);
  }
  return rows;
}

function parametersSection(resolved) {
  if (!resolved || Object.keys(resolved).length === 0) return null;
  const rows = flattened(resolved, '', []);
  const found = section('All parameters', 'Every parameter after defaults, as the prediction used it.',
    folded(`${whole(rows.length)} parameters`, table('Parameters', [
      {name: 'key', text: true, show: (row) => row[0]},
      {name: 'value', text: true, show: (row) => row[1]},
    ], rows, {most: 1500})));
  found.classList.add('parameters');
  return found;
}

const warningsOf = (body) => list(body.warnings).map((text) => el('p', {class: 'warning'}, text));

// ---- a real run's curves ----

function lineChart(says, height, series, xTitle, yTitle, show, options = {}) {
  return chart(says, height, () => ({
    type: 'line',
    data: {datasets: series.map((each) => ({
      label: each.name, data: each.points, borderColor: colour(each.colour), backgroundColor: each.fill ? colour(each.fill) : colour(each.colour),
      fill: each.fillTo ?? false, pointRadius: each.points.length > 60 ? 0 : each.plain ? 0 : 3, borderWidth: each.plain ? 1 : 2,
      borderDash: each.dash, tension: 0, spanGaps: true,
    }))},
    options: {
      scales: {x: axis(xTitle, options.xShow || plain, {type: options.logX ? 'logarithmic' : 'linear', ...options.x}), y: axis(yTitle, show, {beginAtZero: true, ...options.y})},
      plugins: {tooltip: tooltip(show)},
    },
  }));
}

function curvesSections(training) {
  const epochs = list(training && training.epochs);
  const found = [];
  const points = (key) => epochs.filter((row) => isNumber(row[key])).map((row) => ({x: row.epoch, y: row[key]}));
  const columns = [
    {name: 'epoch', show: (row) => whole(row.epoch)},
    {name: 'training', show: (row) => duration(row.train_s)},
    {name: 'evaluation', show: (row) => duration(row.evaluate_s)},
    {name: 'loss', show: (row) => plain(row.loss)},
    {name: 'top-1', show: (row) => percent(row.top1)},
    {name: 'top-5', show: (row) => percent(row.top5)},
    {name: 'images/s', show: (row) => plain(row.images_per_s)},
    {name: 'peak memory', show: (row) => bytes(row.peak_memory_bytes)},
  ];
  if (points('gpu_power_w').length > 0) columns.push({name: 'GPU power', show: (row) => watts(row.gpu_power_w)});
  const details = () => folded('Table', table('Epochs', columns, epochs));
  const losses = list(training && training.losses).map((row) => ({x: row.step, y: row.loss}));
  if (points('loss').length > 0 || losses.length > 1) {
    found.push(section('Loss and accuracy', 'As the run recorded them.',
      losses.length > 1 && lineChart('Training loss by step', 260, [{name: 'loss of a step', colour: 'a', points: losses}], 'step', 'loss', plain),
      points('loss').length > 1 && lineChart('Training loss by epoch', 240, [{name: 'loss of an epoch', colour: 'a', points: points('loss')}], 'epoch', 'loss', plain, {xShow: integer}),
      points('top1').length > 1 && lineChart('Accuracy by epoch', 240, [
        {name: 'top-1', colour: 'a', points: points('top1')}, {name: 'top-5', colour: 'b', points: points('top5')}], 'epoch', 'accuracy', (value) => percent(value, 0), {xShow: integer}),
      details()));
  }
  if (points('images_per_s').length > 1) {
    found.push(section('Images per second', null,
      lineChart('Images per second by epoch', 220, [{name: 'images/s', colour: 'a', points: points('images_per_s')}], 'epoch', 'images/s', plain, {xShow: integer}), details()));
  }
  if (points('peak_memory_bytes').filter((point) => point.y > 0).length > 1) {
    found.push(section('GPU memory', 'The highest use of any rank, by epoch.',
      lineChart('Peak memory by epoch', 220, [{name: 'peak memory', colour: 'a', points: points('peak_memory_bytes').map(({x, y}) => ({x, y: y / 2 ** 30}))}], 'epoch', 'GiB', plain, {xShow: integer}), details()));
  }
  if (points('gpu_power_w').length > 1) {
    found.push(section('GPU power', 'What one GPU drew on average, by epoch.',
      lineChart('GPU power by epoch', 220, [{name: 'GPU power', colour: 'a', points: points('gpu_power_w')}], 'epoch', 'W', plain, {xShow: integer}), details()));
  }
  const steps = list(training && training.steps);
  if (steps.length > 1) {
    const keys = [...new Set(steps.flatMap((row) => Object.keys(row.phases)))];
    found.push(section('Phases over time', 'Mean over ranks of neighbouring steps.',
      lineChart('Phases over the run', 260, keys.map((key) => ({name: words(key), colour: key === 'straggler_wait' ? 'wait' : phaseColours[key] || 'other',
        points: steps.map((row) => ({x: row.step, y: row.phases[key] || 0}))})), 'step', 'seconds of a step', duration),
      folded('Table', table('Phases by step', [{name: 'step', show: (row) => whole(row.step)},
        ...keys.map((key) => ({name: words(key), show: (row) => duration(row.phases[key] || 0)}))], steps))));
  }
  return found;
}

// ---- the page ----

function oneReport(report, heading) {
  const body = bodyOf(report);
  const words_ = trainingWords(report.resolved) || {};
  const step = body.step_s || {};
  return [
    heading && el('h2', {}, heading),
    el('p', {class: 'answer'}, answerSentence(report)),
    body.bottleneck && el('p', {}, `Bottleneck: ${body.bottleneck}.`),
    warningsOf(body),
    tiles([
      (body.epoch_s || {}).p50 > 0 && ['Epoch', duration(body.epoch_s.p50), report.source === 'measured' ? 'median' : interval(body.epoch_s)],
      ['Step', duration(step.p50), isNumber(body.steps_per_epoch) && `${whole(body.steps_per_epoch)} per epoch`],
      (body.total_s || {}).p50 > 0 && ['Run', duration(body.total_s.p50), isNumber(words_.epochs) && counted(words_.epochs, 'epoch')],
      ['Throughput', `${plain(body.samples_per_s)} images/s`, isNumber(body.model_flops_per_s) && flops(body.model_flops_per_s)],
      step.p50 > 0 && ['Straggler wait', percent(body.wait_s / step.p50), 'of a step, mean over ranks'],
      step.p50 > 0 && ['Exposed communication', percent(body.exposed_communication_s / step.p50), 'of a step, mean over ranks'],
      isNumber(body.model_flops_utilisation) && ['Utilisation', percent(body.model_flops_utilisation), 'of the dense peaks'],
      body.cost && isNumber(body.cost.price) && ['Price', `${plain(body.cost.price)} ${body.cost.currency || ''}`.trim(), 'of the whole run'],
    ]),
    curvesSections(report.training),
    epochSection(body, report.source === 'measured'),
    stepSection(body),
    timelineSection(body, report.source === 'measured'),
    clusterSection(report),
    memorySection(body),
    powerSection(body),
    communicationSection(body),
    goodputSection(body),
    keysSection('Cost', 'Of the whole run.', body.cost),
    eventsSection(body),
    basisSection(body),
    parametersSection(report.resolved),
  ];
}

function reportPage(report) {
  const jobs = list(report.jobs);
  return {
    title: jobs.length > 1 ? `${jobs.length} jobs on one cluster` : reportTitle(report),
    kind: report.source === 'measured' ? 'A real run' : 'Prediction',
    content: jobs.length > 1 ? jobs.flatMap((job, i) => oneReport(job, `Job ${i + 1}: ${reportTitle(job)}`)) : oneReport(report),
  };
}
