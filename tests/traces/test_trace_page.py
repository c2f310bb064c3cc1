"""The page of a trace: whole, in one file, with text as text."""

import json
import re
from html.parser import HTMLParser

import pytest
from traced import HTML, count, traced

from selfdraft.cli import main
from selfdraft.decoding.policy import Policy
from selfdraft.traces.page import page_of


class Elements(HTMLParser):
    """The classes of all elements, and the text of the prompts."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.tokens, self.prompt, self._in_prompt = [], 0, "", False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        classes = (dict(attrs).get("class") or "").split()
        self.tokens += "token" in classes
        self._in_prompt = "prompt" in classes

    def handle_data(self, data):
        self.prompt += data if self._in_prompt else ""

    def handle_endtag(self, tag):
        self._in_prompt = False


@pytest.fixture(scope="module")
def trace():
    return traced("head", Policy("warm", 1.0), texts=(HTML, "oil the chain"))[0]


@pytest.fixture
def written(trace, tmp_path):
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(trace), encoding="utf-8")
    return path


def test_the_page_shows_every_token_and_html_as_text(trace, written, tmp_path):
    out = tmp_path / "trace.html"
    assert main(["trace", str(written), "--out", str(out)]) == 0
    page = out.read_text(encoding="utf-8")
    found = Elements(page)
    assert found.tokens == count(trace) > 20
    assert found.prompt == HTML + "oil the chain"
    assert found.tags.count("script") == 2
    assert "b" not in found.tags
    assert not re.search(r"https?:|src=|@import|url\(", page)
    assert page_of([written]) == page


def test_several_traces_make_one_page(trace, written):
    page = page_of([written, written])
    assert Elements(page).tokens == 2 * count(trace)
    numbers = re.findall(r'class="cycle" data-cycle="(\d+)"', page)
    assert numbers == [str(number) for number in range(len(numbers))]


def test_text_that_ends_a_script_does_not(trace, written):
    trace = json.loads(json.dumps(trace))
    trace["answers"][0]["cycles"][0]["drafted"][0]["text"] = "</script><!--"
    written.write_text(json.dumps(trace), encoding="utf-8")
    page = page_of([written])
    assert Elements(page).tags.count("script") == 2
    (data,) = re.findall(r'id="cycles">(.*?)</script>', page, re.DOTALL)
    assert json.loads(data)[0]["shown"][0]["text"] == "</script><!--"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "selfdraft_trace: found None, 1 is right"),
        ('{"selfdraft_trace": 2}', "selfdraft_trace: found 2, 1 is right"),
        ('{"selfdraft_trace": 1}', "not a whole trace (KeyError('policy'))"),
    ],
)
def test_a_file_that_is_no_trace_is_one_clear_line(text, message, tmp_path, capsys):
    path = tmp_path / "trace.json"
    path.write_text(text, encoding="utf-8")
    assert main(["trace", str(path), "--out", str(tmp_path / "page.html")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "page.html").exists()


def test_a_fate_that_is_none_is_refused(trace, written, capsys, tmp_path):
    trace = json.loads(json.dumps(trace))
    trace["answers"][0]["cycles"][0]["drafted"][0]["fate"] = '"><b>'
    written.write_text(json.dumps(trace), encoding="utf-8")
    assert main(["trace", str(written), "--out", str(tmp_path / "page.html")]) == 2
    assert "fate" in capsys.readouterr().err


def test_a_trace_of_nothing_drafted_is_refused(capsys, tmp_path):
    assert main(["generate", "--prompt", "a", "--trace", str(tmp_path / "trace.json")]) == 2
    assert "--trace: nothing is drafted" in capsys.readouterr().err
