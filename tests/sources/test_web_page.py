from selfdraft.sources.web_page import is_web_page, markdown_of

PAGE = (
    '<div class="markdown prose w-full"><p>First <strong>bold</strong> &amp; <code>x &lt; 1</code>.</p>'
    "<ol><li>One</li><li><p>Two</p></li></ol><ul><li>Dot</li></ul>"
    "<pre><div><span>python</span><button>Copy code</button>"
    '<code class="x">for i in a:\n    print(i)\n</code></div></pre>'
    "<h2>End</h2><p>Bye<br>now</p></div>"
)


def test_an_answer_saved_as_web_page_becomes_the_markdown_it_was():
    assert is_web_page(PAGE)
    assert markdown_of(PAGE).split("\n") == [
        "First **bold** & `x < 1`.",
        "",
        "1. One",
        "2. Two",
        "",
        "* Dot",
        "",
        "```python",
        "for i in a:",
        "    print(i)",
        "```",
        "",
        "## End",
        "",
        "Bye",
        "now",
    ]


def test_html_that_is_talked_about_is_no_web_page():
    for text in (
        "Use a <p> here.",
        "<div>\n  <p>Hi</p>\n</div>",
        "```html\n<p>Hi</p>\n```",
        "<p>Hi</p> is a paragraph",
    ):
        assert not is_web_page(text)
