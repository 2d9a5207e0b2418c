// Pages that hold predictions against measurements: compare, validate, calibrate check.
'use strict';

const valueOf = (row, side) => row[`${side}_s`] ?? row[`${side}_bytes`] ?? row[side];
const isPart = (row) => String(row.kind).startsWith('part');
const isMemory = (row) => row.kind === 'memory' || row.a_bytes !== undefined;
const shown = (row, side) => (isMemory(row) ? bytes(valueOf(row, side)) : duration(valueOf(row, side)));
const outside = (row) => row.within_tolerance === false && row.judged !== false;

function differenceChart(says, rows, label, share) {
  return chart(says, 90 + 24 * rows.length, () => ({
    type: 'bar',
    data: {labels: rows.map(label), datasets: [{label: 'difference', data: rows.map((row) => 100 * share(row)),
      backgroundColor: rows.map((row) => colour(outside(row) ? 'wait' : 'a'))}]},
    options: {indexAxis: 'y', scales: {x: axis('difference (%)', plain), y: axis('')},
      plugins: {legend: {display: false}, tooltip: tooltip((value) => `${plain(value)} %`)}},
  }));
}

function pairChart(says, rows, label, names, whiskers) {
  return chart(says, 100 + 44 * rows.length, () => ({
    type: 'bar',
    data: {labels: rows.map(label), datasets: [
      {label: names[0], data: rows.map((row) => valueOf(row, 'a')), backgroundColor: colour('a'), whiskers: rows.map(whiskers)},
      {label: names[1], data: rows.map((row) => valueOf(row, 'b')), backgroundColor: colour('b')}]},
    options: {indexAxis: 'y', scales: {x: axis('', duration, {beginAtZero: true, ...roomFor(rows.map(whiskers))}), y: axis('')}, plugins: {tooltip: tooltip(duration)}},
  }));
}

function comparisonSections(comparison, names) {
  const figures = list(comparison.figures);
  const columns = [
    {name: 'figure', text: true, show: (row) => row.name},
    {name: names[0], show: (row) => shown(row, 'a'), value: (row) => valueOf(row, 'a')},
    {name: names[1], show: (row) => shown(row, 'b'), value: (row) => valueOf(row, 'b')},
    {name: 'difference', show: (row) => signed(row.difference), value: (row) => row.difference, mark: (row) => (outside(row) ? 'bad' : '')},
    {name: '90% prediction interval', show: (row) => (isNumber(row.p05_s) ? `${row.inside_interval ? 'inside' : 'outside'} ${duration(row.p05_s)} to ${duration(row.p95_s)}` : none)},
    {name: 'remark', text: true, show: (row) => (row.judged === false ? 'not judged' : outside(row) ? 'out of tolerance' : '')},
  ];
  const totals = figures.filter((row) => !isMemory(row) && !isPart(row));
  const ofRanks = figures.filter((row) => isPart(row) && /^rank /.test(row.name));
  const phases = figures.filter((row) => isPart(row) && !/^rank /.test(row.name));
  const memory = figures.filter(isMemory);
  const slowest = comparison.slowest_rank;
  const part = (title, lead, rows, ...drawing) => (rows.length === 0 ? null
    : section(title, lead, ...drawing, folded('Table', table(title, columns, rows, {sortable: true}))));
  return [
    totals.length > 0 && section('Times', 'Whiskers are the 90% prediction interval.',
      ...totals.map((row) => pairChart(row.name, [row], (each) => each.name, names, (each) => [each.p05_s, each.p95_s])),
      folded('Table', table('Times', columns, totals))),
    part('By phase', 'Difference as a share of the step.', phases, differenceChart('Difference by phase', phases, (row) => row.name, (row) => row.difference)),
    part('By rank', 'Difference as a share of the step.', ofRanks, differenceChart('Difference by rank', ofRanks.slice(0, 64), (row) => row.name, (row) => row.difference)),
    part('Memory by rank', null, memory, differenceChart('Difference of memory', memory.slice(0, 64), (row) => row.name, (row) => row.difference)),
    slowest && section('Straggler', null, pairs('Straggler', [
      [names[0], list(slowest.named).length ? list(slowest.named).slice(0, 8).map((rank) => `rank ${rank}`).join(', ') : `rank ${slowest.a}`],
      [names[1], `rank ${slowest.b}`], ['agree', slowest.agree ? 'yes' : 'no']])),
    list(comparison.notes).map((note) => el('p', {class: 'warning'}, note)),
  ];
}

function verdictOf(comparison) {
  const figures = list(comparison.figures).filter((row) => row.judged !== false);
  const far = figures.filter(outside);
  const head = figures.find((row) => row.name === 'epoch') || figures.find((row) => row.name === 'step') || figures[0];
  return `${head ? `The ${head.name} differs by ${signed(head.difference)}. ` : ''}${far.length === 0
    ? `All ${figures.length} judged figures are within tolerance.` : `${far.length} of ${figures.length} judged figures are out of tolerance.`}`;
}

function comparisonPage(data) {
  return {title: 'Two reports side by side', kind: 'Comparison',
    content: [el('p', {class: 'answer'}, verdictOf(data)), comparisonSections(data, ['A', 'B'])]};
}

function validationPage(data) {
  const comparison = data.comparison || {};
  return {title: `Validation of ${data.name || 'a training'}`, kind: 'Validation',
    content: [
      el('p', {class: 'answer'}, verdictOf(comparison)),
      isNumber(data.runs) && el('p', {class: 'soft'}, `${counted(data.runs, 'run')}, ${data.disturbed || 0} disturbed and repeated; the run compared is ${data.run_directory}.`),
      comparisonSections(comparison, ['predicted', 'measured']),
      data.measured && stepSection(bodyOf(data.measured)),
      data.predicted && basisSection(bodyOf(data.predicted)),
      data.predicted && parametersSection(data.predicted.resolved),
    ]};
}

// ---- many runs ----

// rows: {name, group, predicted, measured, low, high, error, inside}
function runSections(rows) {
  const most = Math.max(...rows.map((row) => Math.max(row.predicted, row.measured)));
  const least = Math.min(...rows.map((row) => Math.min(row.predicted, row.measured)));
  const columns = [
    {name: 'run', text: true, show: (row) => row.name},
    {name: 'measured', show: (row) => duration(row.measured), value: (row) => row.measured},
    {name: 'predicted', show: (row) => duration(row.predicted), value: (row) => row.predicted},
    {name: 'error', show: (row) => signed(row.error), value: (row) => row.error},
    {name: '90% prediction interval', show: (row) => (isNumber(row.low) ? `${duration(row.low)} to ${duration(row.high)}` : none)},
    {name: 'interval', text: true, show: (row) => (row.inside === undefined || row.inside === null ? none : row.inside ? 'inside' : 'outside'), mark: (row) => (row.inside === false ? 'bad' : '')},
  ];
  const details = () => folded('Table', table('Runs', columns, rows, {sortable: true}));
  const drawn = rows.slice(0, 80);
  const whiskers = drawn.map((row) => (isNumber(row.low) ? [100 * (row.low / row.measured - 1), 100 * (row.high / row.measured - 1)] : null));
  return [
    section('Predicted against measured', 'On the line the prediction is right. Both axes are logarithmic.',
      chart('Predicted against measured time of each run', 340, () => ({
        type: 'scatter',
        data: {datasets: [
          {label: 'inside the interval', data: rows.filter((row) => row.inside !== false).map((row) => ({x: row.measured, y: row.predicted, name: row.name})), backgroundColor: colour('a'), pointRadius: 5},
          {label: 'outside the interval', data: rows.filter((row) => row.inside === false).map((row) => ({x: row.measured, y: row.predicted, name: row.name})), backgroundColor: colour('wait'), pointRadius: 5},
          {label: 'equal', type: 'line', data: [{x: least, y: least}, {x: most, y: most}], borderColor: colour('ideal'), borderDash: [5, 4], pointRadius: 0}]},
        options: {scales: {x: axis('measured', duration, {type: 'logarithmic'}), y: axis('predicted', duration, {type: 'logarithmic'})},
          plugins: {tooltip: {callbacks: {label: (item) => `${item.raw.name || 'equal'}: predicted ${duration(item.raw.y)}, measured ${duration(item.raw.x)}`}}}},
      })), details()),
    section('Error by run', 'Whiskers are the 90% prediction interval around the prediction.',
      chart('Error of each run', 90 + 22 * drawn.length, () => ({
        type: 'bar',
        data: {labels: drawn.map((row) => row.name), datasets: [{label: 'error', data: drawn.map((row) => 100 * row.error),
          backgroundColor: drawn.map((row) => colour(row.inside === false ? 'wait' : 'a')),
          whiskers}]},
        options: {indexAxis: 'y', scales: {x: axis('error of the prediction (%)', plain, roomFor(whiskers)), y: axis('')}, plugins: {legend: {display: false}, tooltip: tooltip((value) => `${plain(value)} %`)}},
      })), details()),
  ];
}

const meanError = (rows) => sum(rows.map((row) => Math.abs(row.error))) / (rows.length || 1);

function runsAnswer(rows) {
  const judged = rows.filter((row) => row.inside === true || row.inside === false);
  return `Over ${counted(rows.length, 'run')} the mean absolute error is ${percent(meanError(rows))}` +
    `${judged.length ? `; ${judged.filter((row) => row.inside).length} of ${judged.length} lie inside the 90% prediction interval` : ''}.`;
}

function unpredictableSection(rows) {
  return rows.length === 0 ? null : section('Not predictable', 'Runs that the profiles at hand cannot predict, and why.', table('Runs', [
    {name: 'run', text: true, show: (row) => row.name || row.run},
    {name: 'reason', text: true, show: (row) => row.unpredictable}], rows));
}

// Errors of parts without what stands in brackets: the parts of all runs together.
function partsSection(parts) {
  if (parts.length === 0) return null;
  const groups = new Map();
  for (const part of parts) groups.set(part.part, [...(groups.get(part.part) || []), part]);
  const rows = [...groups].map(([name, members_]) => ({name, count: members_.length, mean: meanError(members_),
    worst: members_.reduce((a, b) => (Math.abs(b.error) > Math.abs(a.error) ? b : a)).error}));
  return section('Error by phase', 'Mean absolute error of each part, left out too.',
    chart('Error by phase', 90 + 22 * rows.length, () => ({
      type: 'bar',
      data: {labels: rows.map((row) => words(row.name)), datasets: [{label: 'mean absolute error', data: rows.map((row) => 100 * row.mean), backgroundColor: colour('a')}]},
      options: {indexAxis: 'y', scales: {x: axis('mean absolute error (%)', plain, {beginAtZero: true}), y: axis('')}, plugins: {legend: {display: false}, tooltip: tooltip((value) => `${plain(value)} %`)}},
    })),
    folded('Table', table('Parts', [
      {name: 'part', text: true, show: (row) => words(row.name)},
      {name: 'runs', show: (row) => whole(row.count), value: (row) => row.count},
      {name: 'mean', show: (row) => percent(row.mean), value: (row) => row.mean},
      {name: 'worst', show: (row) => signed(row.worst), value: (row) => Math.abs(row.worst)}], rows, {sortable: true})));
}

function validationRunsPage(data) {
  const all = list(data.runs);
  const figures = (run) => list((run.comparison || {}).figures);
  const rows = all.filter((run) => run.comparison).flatMap((run) => {
    const figure_ = figures(run).find((row) => row.name === 'epoch') || figures(run).find((row) => row.name === 'step');
    return figure_ ? [{name: run.name, predicted: valueOf(figure_, 'a'), measured: valueOf(figure_, 'b'), low: figure_.p05_s, high: figure_.p95_s,
      error: valueOf(figure_, 'a') / valueOf(figure_, 'b') - 1, inside: figure_.inside_interval}] : [];
  });
  const parts = all.flatMap((run) => figures(run).filter((row) => isPart(row) && !/^rank /.test(row.name))
    .map((row) => ({part: row.name, error: row.difference})));
  const byRank = all.flatMap((run) => figures(run).filter((row) => /^rank .* (compute|wait)$/.test(row.name)).map((row) => ({...row, run: run.name})));
  return {title: `Validation against ${counted(rows.length, 'recorded run')}`, kind: 'Validation',
    content: [
      rows.length > 0 && el('p', {class: 'answer'}, runsAnswer(rows)),
      rows.length > 0 && runSections(rows),
      partsSection(parts),
      byRank.length > 0 && section('Error by rank', 'Difference as a share of the step.', table('Ranks', [
        {name: 'run', text: true, show: (row) => row.run}, {name: 'figure', text: true, show: (row) => row.name},
        {name: 'predicted', show: (row) => shown(row, 'a'), value: (row) => valueOf(row, 'a')},
        {name: 'measured', show: (row) => shown(row, 'b'), value: (row) => valueOf(row, 'b')},
        {name: 'difference', show: (row) => signed(row.difference), value: (row) => row.difference}], byRank, {sortable: true, most: 400})),
      unpredictableSection(all.filter((run) => run.unpredictable)),
    ]};
}

function checkPage(data) {
  const runs = list(data.runs);
  const rows = runs.filter((run) => !run.unpredictable).map((run) => ({name: run.run, group: run.group, predicted: run.predicted_s,
    measured: run.measured_s, low: run.p05_s, high: run.p95_s, error: run.error, inside: isNumber(run.p05_s) ? run.inside : undefined}));
  const models = list(data.models);
  const groups = [...new Set(rows.map((row) => row.group))].map((name) => ({name, rows: rows.filter((row) => row.group === name)}));
  return {title: 'Calibration check: each run predicted by a calibration that excludes it', kind: 'Calibration check',
    content: [
      rows.length > 0 && el('p', {class: 'answer'}, runsAnswer(rows)),
      rows.length > 0 && runSections(rows),
      groups.length > 1 && section('By cluster and precision', null, table('Groups', [
        {name: 'group', text: true, show: (row) => row.name}, {name: 'runs', show: (row) => whole(row.rows.length), value: (row) => row.rows.length},
        {name: 'mean absolute error', show: (row) => percent(meanError(row.rows)), value: (row) => meanError(row.rows)}], groups, {sortable: true})),
      partsSection(list(data.components)),
      models.length > 0 && section('Models that were left out', `Mean absolute error ${percent(meanError(models))}.`, table('Models', [
        {name: 'GPU', text: true, show: (row) => row.gpu}, {name: 'figure', text: true, show: (row) => words(row.what)},
        {name: 'model', text: true, show: (row) => row.model}, {name: 'precision', text: true, show: (row) => row.precision},
        {name: 'batch', show: (row) => whole(row.batch), value: (row) => row.batch},
        {name: 'error', show: (row) => signed(row.error), value: (row) => row.error},
        {name: 'remark', text: true, show: (row) => (row.host_share > 0.5 ? 'bound by the host' : '')}], models, {sortable: true})),
      unpredictableSection(runs.filter((run) => run.unpredictable)),
    ]};
}
