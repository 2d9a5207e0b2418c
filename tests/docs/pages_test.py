"""Checks the pages themselves: every link leads somewhere, and every key of every schema is explained.

    pages_test.py SOURCE

A link is to a file of the project and, behind "#", to a heading in it. A key of a JSON Schema in configs/schemas is
explained where its page in docs/formats writes it in a code span or a code block.
"""

import json
import os
import pathlib
import re
import sys

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PAGES = {
    "cluster": ["cluster.md"],
    "gpu": ["gpu-sheet.md"],
    "link": ["link-sheet.md"],
    "measurement": ["measurement.md"],
    "model": ["cluster.md"],
    "plan": ["plan.md"],
    "profile": ["profile.md"],
    "report": ["report.md"],
    "timeline": ["timeline.md"],
    "validation": ["validation.md"],
}


def without_code(text):
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def anchors(page):
    """Names of the headings, as repository pages make them: lower case, words joined by hyphens."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", without_code(page.read_text()), re.M):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-"))
    return found


def pages_of(source):
    for folder, folders, files in os.walk(source):
        folders[:] = sorted(name for name in folders if name not in ("build", "outputs", ".git"))
        yield from (pathlib.Path(folder, name) for name in sorted(files) if name.endswith(".md"))


def broken_links(source):
    for page in pages_of(source):
        for target in LINK.findall(without_code(page.read_text())):
            if "://" in target:
                continue
            name, _, anchor = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            if not file.exists():
                yield f"{page.relative_to(source)}: {target} leads nowhere"
            elif anchor and anchor not in anchors(file):
                yield f"{page.relative_to(source)}: {target}: there is no such heading"


def keys_of(schema):
    """Names of all properties, however deep."""
    if isinstance(schema, dict):
        properties = schema.get("properties")
        if isinstance(properties, dict):
            yield from properties
        for value in schema.values():
            yield from keys_of(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from keys_of(value)


def unexplained_keys(source):
    schemas = sorted((source / "configs/schemas").glob("*.schema.json"))
    for file in schemas:
        name = file.name.removesuffix(".schema.json")
        if name not in PAGES:
            yield f"{file.name}: no page in docs/formats explains it"
            continue
        text = "\n".join((source / "docs/formats" / page).read_text() for page in PAGES[name])
        code = " ".join(re.findall(r"^```.*?^```|`[^`\n]+`", text, re.M | re.S))
        words = set(re.findall(r"[\w$]+", code))
        for key in sorted(set(keys_of(json.loads(file.read_text()))) - words):
            yield f"docs/formats/{PAGES[name][0]}: says nothing of \"{key}\" of {file.name}"


def main():
    source = pathlib.Path(sys.argv[1]).resolve()
    problems = [*broken_links(source), *unexplained_keys(source)]
    print("\n".join(problems) or "every link leads somewhere, every key is explained")
    return 1 if problems else 0


sys.exit(main())
