// Builds the page from the data that stands in it.
'use strict';

const pages = {
  'vitsim-report/1': reportPage,
  'vitsim-scale/1': scalePage,
  'vitsim-sweep/1': sweepPage,
  'vitsim-collective/1': collectivePage,
  'vitsim-plan/1': planPage,
  'vitsim-comparison/1': comparisonPage,
  'vitsim-validation/1': validationPage,
  'vitsim-validation-runs/1': validationRunsPage,
  'vitsim-check/1': checkPage,
};

(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const {title, kind, content} = pages[data.schema](data);
  document.title = `${title} - vitsim`;
  const main = document.getElementById('main');
  main.append(...content.flat(Infinity).filter((node) => node instanceof Node));
  const dark = window.matchMedia('(prefers-color-scheme: dark)');
  const theme = el('button', {type: 'button', onclick: () => setTheme(document.documentElement.dataset.theme !== 'dark')}, 'Light or dark');
  const sections = [...main.querySelectorAll(':scope > section')];
  document.getElementById('top').append(
    el('p', {class: 'soft'}, kind), el('h1', {}, title),
    el('nav', {'aria-label': 'Sections'}, sections.map((each) =>
      el('a', {href: `#${each.id}`}, each.querySelector('h2').textContent)), theme));
  dark.addEventListener('change', () => setTheme(dark.matches));
  setTheme(dark.matches);
  // On paper: light, with every chart's table open.
  let before = null;
  window.addEventListener('beforeprint', () => {
    before = document.documentElement.dataset.theme;
    setTheme(false);
    document.querySelectorAll('section:not(.parameters) > details').forEach((each) => { each.open = true; });
  });
  window.addEventListener('afterprint', () => setTheme(before === 'dark'));
})();
