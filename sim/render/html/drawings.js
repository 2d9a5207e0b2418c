// The cluster and the timeline of a step as SVG.
'use strict';

const phaseColours = {
  data_load: 'data_load', forward: 'forward', backward: 'backward', gradient_all_reduce: 'exposed',
  parameter_all_gather: 'parameter', tensor_parallel: 'tensor', pipeline_send: 'pipeline', optimizer: 'optimizer',
  other: 'other', epoch_barrier: 'other', evaluate: 'forward', checkpoint: 'other',
};
const phaseColour = (phase) => `var(--${phaseColours[phase] || 'other'})`;

function spanTitle(span) {
  const what = span.straggler_wait ? 'straggler wait' : words(span.phase);
  return `${what}: ${duration(span.end_s - span.begin_s)}, from ${duration(span.begin_s)} on`;
}

// Two lanes a rank: what it computes, and what it sends meanwhile.
function timelineDrawing(tracks) {
  const left = 170;
  const width = 1000;
  const lane = 13;
  const row = 2 * lane + 12;
  const end = Math.max(...tracks.flatMap((track) => track.spans.map((span) => span.end_s)), 1e-12);
  const x = (seconds) => left + (seconds / end) * (width - left - 10);
  const height = tracks.length * row + 34;
  const used = new Set();
  let waits = false;
  const drawing = svg('svg', {viewBox: `0 0 ${width} ${height}`, width, height, role: 'img',
    'aria-label': `Timeline of one step of ${tracks.length} tracks; the table has the figures`});
  for (let tick = 0; tick <= 4; ++tick) {
    const at = x((end * tick) / 4);
    drawing.append(
      svg('line', {x1: at, x2: at, y1: 4, y2: height - 22, stroke: 'var(--line)'}),
      svg('text', {x: at, y: height - 6, class: 'soft', 'text-anchor': tick === 4 ? 'end' : tick ? 'middle' : 'start'},
        duration((end * tick) / 4)));
  }
  tracks.forEach((track, i) => {
    const top = i * row + 6;
    const name = String(track.name).length > 24 ? `${String(track.name).slice(0, 23)}\u2026` : track.name;
    drawing.append(
      svg('text', {x: 0, y: top + 11}, `rank ${track.rank}`, svg('title', {}, track.name)),
      svg('text', {x: 0, y: top + 25, class: 'soft'}, name, svg('title', {}, track.name)));
    for (const span of track.spans) {
      const below = span.stream !== 'compute' && span.stream !== 'loader';
      if (span.straggler_wait) waits = true;
      else used.add(span.phase);
      drawing.append(svg('rect', {
        x: x(span.begin_s), width: Math.max(0.6, x(span.end_s) - x(span.begin_s)),
        y: top + (below ? lane + 1 : 0), height: lane, rx: 1,
        fill: span.straggler_wait ? 'var(--wait)' : phaseColour(span.phase),
        opacity: span.straggler_wait ? 0.55 : 1,
      }, svg('title', {}, spanTitle(span))));
    }
  });
  return el('div', {},
    legend([...[...used].map((phase) => [words(phase), phaseColour(phase)]), ...(waits ? [['straggler wait', 'var(--wait)']] : [])]),
    el('div', {class: 'drawing', tabindex: 0, role: 'region', 'aria-label': 'Timeline of one step'}, drawing));
}

// Nodes of the file with their ranks; equal neighbours are drawn once.
function drawnNodes(nodes, ranks, classes) {
  const speeds = new Map(ranks.map((rank) => [rank.rank, rank.compute_s]));
  const byGpu = new Map();
  for (const each of classes) {
    if (!byGpu.has(each.gpu)) byGpu.set(each.gpu, each.compute_s);
  }
  let next = 0;
  const drawn = [];
  for (const node of nodes) {
    const gpus = list(node.gpus).map((gpu) => {
      const model = typeof gpu === 'string' ? gpu : gpu.model;
      const rank = next++;
      return {rank, model, slowdown: gpu.slowdown || 1, compute_s: speeds.get(rank) ?? byGpu.get(model)};
    });
    const count = node.count || 1;
    next += (count - 1) * gpus.length;
    drawn.push({name: node.name, count, gpus});
  }
  return drawn;
}

// A colour from fast to slow, by the compute of the median.
function speedColour(compute, median) {
  if (!isNumber(compute) || !isNumber(median) || median <= 0) return 'var(--other)';
  const ratio = Math.log2(compute / median);
  const mix = Math.round(Math.min(1, Math.abs(ratio) / 2) * 100);
  return `color-mix(in srgb, var(--${ratio > 0 ? 'wait' : 'backward'}) ${Math.max(mix, 12)}%, var(--forward))`;
}

function clusterDrawing(resolved, body) {
  const classes = list(body.rank_classes);
  const nodes = drawnNodes(list(resolved.cluster && resolved.cluster.nodes), list(body.ranks), classes);
  if (nodes.length === 0) return null;
  const most = 48;
  const shown = nodes.slice(0, most);
  const links = new Map(list(body.links).map((link) => [`${link.kind}/${link.name}`, link]));
  const ordered = classes.flatMap((each) => Array(Math.min(each.count, 50)).fill(each.compute_s)).sort((a, b) => a - b);
  const median = ordered[Math.floor((ordered.length - 1) / 2)];
  const stragglers = list(body.verdict && body.verdict.stragglers);
  const isStraggler = (rank) => stragglers.some((group) => {
    const ranges = list(group.ranks && group.ranks.ranges);
    return ranges.length ? ranges.some(([first, last]) => rank >= first && rank <= last)
      : group.ranks && rank === group.ranks.first;
  });
  const cell = 30;
  const across = 4;
  const box = (node) => ({
    columns: Math.min(across, Math.max(1, node.gpus.length)),
    rows: Math.ceil(Math.max(1, node.gpus.length) / across),
  });
  const width = 1000;
  const nodeWidth = 150;
  const perRow = Math.min(6, shown.length);
  const gap = (width - perRow * nodeWidth) / (perRow + 1);
  const tallest = Math.max(...shown.map((node) => box(node).rows));
  const rowHeight = 96 + tallest * cell;
  const rows = Math.ceil(shown.length / perRow);
  const height = rows * rowHeight + 8;
  const limit = body.verdict && body.verdict.limit;
  const busiest = list(body.links)[0];
  const drawing = svg('svg', {viewBox: `0 0 ${width} ${height}`, width, height, role: 'img',
    'aria-label': `The cluster: ${nodes.length} kinds of nodes; the tables have the figures`});
  shown.forEach((node, i) => {
    const line = Math.floor(i / perRow);
    const inLine = Math.min(perRow, shown.length - line * perRow);
    const from = (width - inLine * nodeWidth - (inLine - 1) * gap) / 2;
    const x = from + (i % perRow) * (nodeWidth + gap);
    const y = line * rowHeight + 14;
    const {columns, rows: lines} = box(node);
    const inside = links.get(`inside node/${node.name}`);
    const nic = links.get(`nic/${node.name}`) || links.get(`nic/${node.name}-0`);
    const hasNetwork = nodes.length > 1 || node.count > 1;
    if (hasNetwork && i % perRow === 0) {
      drawing.append(svg('line', {x1: 20, x2: width - 20, y1: y, y2: y, stroke: 'var(--soft)', 'stroke-width': 3}));
      if (line === 0) drawing.append(svg('text', {x: width - 20, y: y + 14, class: 'soft', 'text-anchor': 'end'}, 'network'));
    }
    const centre = x + nodeWidth / 2;
    const hot = nic && busiest && limit === 'communication' && nic.share === busiest.share;
    if (hasNetwork) drawing.append(svg('line', {x1: centre, x2: centre, y1: y, y2: y + 34,
      stroke: nic ? (hot ? 'var(--wait)' : 'var(--exposed)') : 'var(--line)',
      'stroke-width': nic ? 2 + 8 * Math.min(1, nic.share) : 2},
    svg('title', {}, nic ? `${bytes(nic.bytes)} a step each way, ${percent(nic.share)} of ${rate(nic.bandwidth_bytes_per_s)}` : 'no figures')));
    if (nic) drawing.append(svg('text', {x: centre + 8, y: y + 24, class: 'soft'}, percent(nic.share)));
    const top = y + 34;
    const label = String(node.name || `node ${i}`);
    drawing.append(
      svg('rect', {x, y: top, width: nodeWidth, height: lines * cell + 40, rx: 8, fill: 'var(--panel)', stroke: 'var(--line)'}),
      svg('text', {x: centre, y: top + 15, 'text-anchor': 'middle'},
        label.length > 19 ? `${label.slice(0, 18)}\u2026` : label, svg('title', {}, label)));
    node.gpus.forEach((gpu, k) => {
      const gx = centre - (columns * cell) / 2 + (k % across) * cell + 2;
      const gy = top + 22 + Math.floor(k / across) * cell;
      const marked = isStraggler(gpu.rank);
      drawing.append(svg('rect', {x: gx, y: gy, width: cell - 4, height: cell - 4, rx: 4, fill: speedColour(gpu.compute_s, median),
        stroke: marked ? 'var(--ink)' : 'none', 'stroke-width': marked ? 3 : 0},
      svg('title', {}, `rank ${gpu.rank}: ${gpu.model}, compute ${duration(gpu.compute_s)} of a step${marked ? '; straggler' : ''}`)));
    });
    const models = [...new Set(node.gpus.map((gpu) => gpu.model))].join(', ');
    const text = `${node.count > 1 ? `${whole(node.count)} nodes, each ` : ''}${node.gpus.length} x ${models}`;
    drawing.append(svg('text', {x: centre, y: top + lines * cell + 34, class: 'soft', 'text-anchor': 'middle'},
      text.length > 27 ? `${text.slice(0, 26)}\u2026` : text, svg('title', {}, text)));
    if (inside) {
      drawing.append(svg('text', {x: x + 4, y: top + lines * cell + 54, class: 'soft'}, `inside the node: ${percent(inside.share)}`));
    }
  });
  return el('div', {},
    legend([['faster than the median GPU', 'var(--backward)'], ['median', 'var(--forward)'], ['slower', 'var(--wait)'],
      ['link by share of its capacity used', 'var(--exposed)']]),
    el('div', {class: 'drawing', tabindex: 0, role: 'region', 'aria-label': 'The cluster'}, drawing),
    nodes.length > most && el('p', {class: 'soft'}, `${nodes.length - most} further nodes are not drawn.`));
}
