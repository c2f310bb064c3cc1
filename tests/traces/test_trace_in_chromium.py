"""The page of a trace in a real browser: no error, every token, keyboard and pointer, HTML as text."""

import json
import os
import shutil
import subprocess

import pytest
from traced import HTML, count, traced

from selfdraft.decoding.policy import Policy
from selfdraft.traces.page import page_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; .ci/run installs Debian's where it can")

# Does what a reader does, and leaves what it saw where --dump-dom shows it.
READER = """
<script>
const seen = {};
const at = () => [cycle, token, find("where").textContent, find("what").textContent];
const press = (key, shiftKey = false) => {
  document.dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey, bubbles: true, cancelable: true }));
  return at();
};
seen.tokens = document.querySelectorAll(".token").length;
seen.bars = document.querySelectorAll(".bar").length;
seen.prompt = document.querySelector(".prompt").textContent;
seen.bold = document.querySelectorAll("b").length;
seen.first = at();
seen.right = press("ArrowRight");
seen.left = press("ArrowLeft");
seen.shift = press("ArrowRight", true);
seen.end = press("End");
seen.home = press("Home");
const last = [...document.querySelectorAll(".token")].pop();
last.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
seen.hover = at();
seen.rows = document.querySelectorAll("#target tr").length;
seen.here = document.querySelectorAll(".cycle.here").length;
document.querySelector(".bar").click();
seen.click = at();
find("text").click();
seen.hidden = [...document.querySelectorAll(".rejected, .unread")].every((one) => one.offsetParent === null);
seen.wide = document.documentElement.scrollWidth - window.innerWidth;
const note = document.createElement("pre");
note.id = "seen";
note.textContent = JSON.stringify(seen);
document.body.append(note);
</script>
"""


def opened(page, folder, *options):
    """The DOM of a page after its scripts, and what the browser wrote of its console."""
    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    words = [CHROMIUM, "--headless", "--disable-gpu", "--no-sandbox", "--disable-dev-shm-usage", *options]
    words += [f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--dump-dom", path.as_uri()]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=300, check=True, env=os.environ | {"HOME": str(folder)}
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("width", [390, 1200])
def test_a_reader_watches_a_generation(width, tmp_path):
    trace = traced("head", Policy("warm", 1.0), texts=(HTML, "oil the chain"))[0]
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(trace), encoding="utf-8")
    page = page_of([path]).replace("</body>", READER + "</body>")
    dom, console = opened(page, tmp_path, f"--window-size={width},844")
    assert console == []
    seen = json.loads(
        dom.split('<pre id="seen">')[1]
        .split("</pre>")[0]
        .replace("&amp;", "&")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
    )
    cycles = [cycle for answer in trace["answers"] for cycle in answer["cycles"]]
    assert seen["tokens"] == count(trace)
    assert seen["bars"] == len(cycles)
    assert (seen["prompt"], seen["bold"]) == (HTML, 0)
    assert [seen[key][0] for key in ("first", "right", "left", "end", "home", "click")] == [
        0,
        1,
        0,
        len(cycles) - 1,
        0,
        0,
    ]
    assert seen["shift"][:2] == [0, 1]
    assert seen["right"][2].startswith(
        f"Cycle 2 of {len(cycles)}: {len(cycles[1]['drafted'])} drafted, {cycles[1]['accepted']} accepted"
    )
    assert seen["hover"][0] == len(cycles) - 1
    assert "overlap 0." in seen["first"][3]
    assert (seen["rows"], seen["here"]) == (5, 1)
    assert seen["hidden"] is True
    assert seen["wide"] <= 0
