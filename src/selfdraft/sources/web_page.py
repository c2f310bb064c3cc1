"""An answer that was saved as a piece of web page -> the markdown it once was."""

import re
from html.parser import HTMLParser

# Some ShareGPT collections keep answers as the page's HTML. Tags anywhere else are code being discussed.
PAGE = re.compile(r'\s*<(?:div class="[^"]*\bmarkdown\b|(?:p|ol|ul|h[1-6])>)')
BLOCKS = {"p", "div", "ul", "ol", "table", "tr", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6"}
SILENT = {"button", "svg", "style", "script"}  # "Copy code" and the like


def is_web_page(text: str) -> bool:
    """True for text that begins as the page's own markup does, and ends with a closing tag."""
    return bool(PAGE.match(text)) and text.rstrip().endswith(">")


class MarkdownWriter(HTMLParser):
    """Collects markdown in `parts` while HTML is fed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.lists: list[int | None] = []  # next number of each open list, None for bullets
        self.silent = 0
        self.in_code_block = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a block, list item, or emphasis."""
        if tag in SILENT:
            self.silent += 1
        elif tag == "pre":
            self.parts.append("\n\n```")  # what stands before <code> is the language's name
            self.in_code_block = True
        elif tag == "code":
            self.parts.append("\n" if self.in_code_block else "`")
        elif tag in ("strong", "b"):
            self.parts.append("**")
        elif tag in ("em", "i"):
            self.parts.append("*")
        elif tag == "br":
            self.parts.append("\n")
        elif tag == "li":
            self.parts.append("\n" + self.bullet())
        elif tag in BLOCKS and not self.in_code_block:
            self.parts.append("\n\n" if not self.parts or not self.parts[-1].endswith((". ", "* ")) else "")
            if tag in ("ul", "ol"):
                self.lists.append(1 if tag == "ol" else None)
            elif tag[0] == "h" and tag[1:].isdigit():
                self.parts.append("#" * int(tag[1]) + " ")

    def bullet(self) -> str:
        """What stands before the next item of the innermost list."""
        number = self.lists[-1] if self.lists else None
        if number is None:
            return "* "
        self.lists[-1] = number + 1
        return f"{number}. "

    def handle_endtag(self, tag: str) -> None:
        """Close what `handle_starttag` opened."""
        if tag in SILENT:
            self.silent = max(0, self.silent - 1)
        elif tag == "pre":
            self.parts[-1] = self.parts[-1].rstrip("\n")
            self.parts.append("\n```\n\n")
            self.in_code_block = False
        elif tag == "code" and not self.in_code_block:
            self.parts.append("`")
        elif tag in ("strong", "b"):
            self.parts.append("**")
        elif tag in ("em", "i"):
            self.parts.append("*")
        elif tag in ("ul", "ol") and self.lists:
            self.lists.pop()
            self.parts.append("\n")
        elif tag in ("td", "th"):
            self.parts.append(" ")

    def handle_data(self, data: str) -> None:
        """Text between tags; outside code, line breaks of the source mean nothing."""
        if not self.silent:
            self.parts.append(data if self.in_code_block else re.sub(r"\s+", " ", data))


def markdown_of(page: str) -> str:
    """The text of a piece of web page: paragraphs, lists, emphasis and fenced code; other tags go."""
    writer = MarkdownWriter()
    writer.feed(page)
    writer.close()
    return re.sub(r"\n{3,}", "\n\n", "".join(writer.parts)).strip()
