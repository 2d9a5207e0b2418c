"""Opens every kind of page in a browser: no message on the console, no request but for the file itself,
every canvas painted, every table filled, nothing wider than the screen; wide and narrow, light and dark.

    pages_test.py [--screenshots FOLDER]
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from browser import Browser, find_browser  # noqa: E402

HERE = pathlib.Path(__file__).parent
SOURCE = HERE.parent.parent
VITSIM = os.environ["VITSIM"]
SKIPPED = 77

# Would run if a name's markup became part of the page.
MARKUP = "</script><img src=x onerror='window.escaped=1'><b>&amp;\"'"

# What every page must hold; the values are what was found wrong.
FINDINGS = """(() => {
  const wrong = [];
  for (const canvas of document.querySelectorAll('canvas')) {
    const pixels = canvas.width && canvas.height
      ? canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data : [];
    let painted = 0;
    for (let i = 3; i < pixels.length; i += 4) painted += pixels[i] ? 1 : 0;
    if (painted < 200) wrong.push(`canvas not painted: ${canvas.getAttribute('aria-label')}`);
    if (!canvas.getAttribute('aria-label')) wrong.push('canvas without a label');
    if (!canvas.closest('section').querySelector('table')) {
      wrong.push(`chart without its table: ${canvas.getAttribute('aria-label')}`);
    }
  }
  for (const drawing of document.querySelectorAll('svg')) {
    if (drawing.querySelectorAll('rect').length === 0) wrong.push('drawing without anything drawn');
    if (!drawing.getAttribute('aria-label')) wrong.push('drawing without a label');
  }
  for (const table of document.querySelectorAll('table')) {
    const cells = [...table.querySelectorAll('tbody td')];
    if (cells.length === 0 || cells.every((cell) => cell.textContent.trim() === '\\u2013')) {
      wrong.push(`table not filled: ${table.textContent.slice(0, 60)}`);
    }
    const bad = cells.find((cell) => /NaN|undefined|\\[object|Infinity/.test(cell.textContent));
    if (bad) wrong.push(`cell: ${bad.textContent}`);
  }
  const words = document.body.innerText;
  if (/NaN|undefined|\\[object/.test(words)) {
    wrong.push(`text: ${words.match(/.{0,40}(NaN|undefined|\\[object).{0,40}/)[0]}`);
  }
  if (document.querySelectorAll('section').length === 0) wrong.push('no section');
  if (!document.querySelector('h1') || !document.querySelector('h1').textContent) wrong.push('no title');
  const ids = [...document.querySelectorAll('[id]')].map((each) => each.id);
  if (new Set(ids).size !== ids.length) wrong.push('an id twice');
  for (const link of document.querySelectorAll('nav a')) {
    if (!document.getElementById(link.getAttribute('href').slice(1))) wrong.push('a link to nowhere');
  }
  if (document.documentElement.scrollWidth > innerWidth) {
    wrong.push(`wider than the screen: ${document.documentElement.scrollWidth} of ${innerWidth}`);
  }
  if (window.escaped) wrong.push('markup of a name was run');
  return {wrong, canvases: document.querySelectorAll('canvas').length,
          tables: document.querySelectorAll('table').length,
          ground: getComputedStyle(document.body).backgroundColor, text: words};
})()"""


def vitsim(*words, codes=(0,)):
    result = subprocess.run([VITSIM, *map(str, words)], capture_output=True, text=True)
    assert result.returncode in codes, (words, result.returncode, result.stderr)


def add_costs(prediction):
    """What a prediction holds where the file has failures and prices, and several kinds of collectives."""
    prediction["communication"] = [
        {"collective": "all-reduce", "phase": "gradient_all_reduce", "group": "data", "calls": 4,
         "bytes": 346e6, "busy_s": 0.5, "exposed_s": 0.3},
        {"collective": "all-gather", "phase": "parameter_all_gather", "group": "data", "calls": 12,
         "bytes": 173e6, "busy_s": 0.2, "exposed_s": 0}]
    prediction["goodput"] = {
        "total_s": {"mean": 21000, "p05": 18000, "p95": 25000}, "failures": 1.5, "lost_s": 1200,
        "checkpoint_s": 600, "restart_s": 900, "effective_share": 0.87, "checkpoint_every_s": 1800}
    prediction["cost"] = {"gpu_hours": 24.3, "price": 31.5, "currency": "EUR", "energy_kwh": 4.2, "co2e_kg": 1.6}


def make_pages(folder):
    """One page of each kind: by its command where that is quick, else from a kept JSON."""
    cluster = SOURCE / "configs/cluster/tesla-5gpu.json"
    page = lambda name: folder / f"{name}.html"  # noqa: E731
    marked = json.loads(cluster.read_text())
    marked["cluster"]["nodes"][0]["name"] = MARKUP
    marked_file = folder / "marked.json"
    marked_file.write_text(json.dumps(marked))
    vitsim("predict", marked_file, "--html", page("predict"), "--json", folder / "predicted.json")
    vitsim("predict", SOURCE / "configs/cluster/two-jobs.json", "--html", page("two-jobs"))
    vitsim("predict", SOURCE / "configs/cluster/h200-node-of-8.json", "--html", page("data-sheet"))
    vitsim("predict", SOURCE / "configs/cluster/events.json", "--html", page("disturbances"))
    vitsim("scale", cluster, "--gpus", "1,2,3,5", "--html", page("scale"))
    vitsim("sweep", cluster, "--vary", "training.micro_batch_per_gpu=8,16",
           "--vary", "training.gradient_accumulation_steps=1,2,4", "--html", page("sweep-of-two"))
    vitsim("sweep", cluster, "--vary", "training.micro_batch_per_gpu=8,16,32", "--html", page("sweep-of-one"))
    vitsim("collective", "all-reduce", cluster, "--bytes", "1KiB:64MiB", "--html", page("collective"))
    vitsim("predict", cluster, "--set", "training.micro_batch_per_gpu=20", "--json", folder / "other.json")
    vitsim("compare", folder / "predicted.json", folder / "other.json", "--html", page("comparison"), codes=(1,))
    for kept in sorted((HERE / "inputs").glob("*.json")):
        vitsim("report", kept, "--html", page(kept.stem))
    predicted = json.loads((folder / "predicted.json").read_text())
    add_costs(predicted["prediction"])
    data = json.dumps(predicted).replace("<", "\\u003c")
    head, _, rest = page("predict").read_text().partition('type="application/json">')
    page("failures-and-cost").write_text(f'{head}type="application/json">{data}</script>{rest.partition("</script>")[2]}')
    run = folder / "run"
    shutil.copytree(SOURCE / "tests/golden/import/run_a", run)
    measured = json.loads((folder / "other.json").read_text())
    measured["source"], measured["measurement"] = "measured", measured.pop("prediction")
    del measured["measurement"]["timeline"], measured["measurement"]["links"]
    for ranks in measured["measurement"]["ranks"], measured["measurement"]["rank_classes"]:
        for rank in ranks:
            rank["memory"].update(allocated_bytes=0.8 * rank["memory"]["total_bytes"],
                                  reserved_bytes=rank["memory"]["total_bytes"])
    for rank in measured["measurement"]["ranks"]:
        rank["power"] = {"mean_w": 143.5, "peak_w": 171.2, "energy_j": 86100}
    (run / "report.json").write_text(json.dumps(measured))
    header, *rows = (run / "epochs.csv").read_text().splitlines()
    powered = [f"{header},gpu_power_w", *(f"{row},{140 + number}" for number, row in enumerate(rows))]
    (run / "epochs.csv").write_text("\n".join(powered) + "\n")
    vitsim("report", run)
    (run / "report.html").rename(page("run"))
    return sorted(folder.glob("*.html"))


def main():
    program = find_browser()
    if program is None:
        print("skipped: no Chromium is installed (Debian's package chromium)")
        return SKIPPED
    pictures = pathlib.Path(sys.argv[2]) if sys.argv[1:2] == ["--screenshots"] else None
    failures = []
    with tempfile.TemporaryDirectory(prefix="vitsim-pages-") as name:
        pages = make_pages(pathlib.Path(name))
        browser = Browser(program)
        try:
            grounds = set()
            for page in pages:
                assert page.stat().st_size < 1_000_000, f"{page.name} has {page.stat().st_size} bytes"
                for width, dark in ((1280, False), (400, False), (1280, True), (400, True)):
                    browser.open(page, width, dark)
                    found = browser.evaluate(FINDINGS)
                    where = f"{page.stem} at {width} pixels, {'dark' if dark else 'light'}"
                    foreign = [url for url in browser.requests if url != page.as_uri() and not url.startswith("data:")]
                    for problem in [*found["wrong"], *browser.messages, *(f"request of {url}" for url in foreign)]:
                        failures.append(f"{where}: {problem}")
                    if found["tables"] == 0:
                        failures.append(f"{where}: no table")
                    if page.stem == "predict" and MARKUP not in found["text"]:
                        failures.append(f"{where}: the name with markup is not shown as it is")
                    grounds.add((dark, found["ground"]))
                    if pictures:
                        pictures.mkdir(parents=True, exist_ok=True)
                        browser.screenshot(pictures / f"{page.stem}-{width}{'-dark' if dark else ''}.png")
            if len(grounds) != 2:
                failures.append(f"light and dark have the backgrounds {grounds}")
        finally:
            browser.close()
    print("\n".join(failures) if failures else f"{len(pages)} pages are right at two widths, light and dark")
    return 1 if failures else 0


sys.exit(main())
