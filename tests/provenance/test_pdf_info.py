"""The document information of a PDF is read as it was written, and a damaged file is told as such."""

import random
import re
from pathlib import Path

import pytest
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from selfdraft.errors import StudyError
from selfdraft.provenance.pdf_info import document_information

NAME = Path("figure.pdf")
TEXTS = ["plain", "", "a (b) c)) ((", "back\\slash \\n \\101", "line\nend\r\ttab", "Ströme – 速度", "x" * 5000]


def pdf_with(folder, **texts):
    """The bytes of a PDF of matplotlib's with these texts."""
    path = folder / "figure.pdf"
    with PdfPages(path, metadata={"CreationDate": None, **texts}) as pages:
        pages.savefig(Figure())
    return path.read_bytes()


@pytest.mark.parametrize("text", TEXTS)
def test_every_text_is_read_as_it_was_written(tmp_path, text):
    found = document_information(pdf_with(tmp_path, Title=text, Keywords="last"), NAME)
    assert found["Title"] == text
    assert found["Keywords"] == "last"
    assert set(found) == {"Title", "Keywords", "Creator", "Producer"}


def test_other_values_and_spellings_are_passed_over_or_read():
    body = (
        b"%PDF-1.4\n7 0 obj\n<< /Trapped /False /Pages 3 /Title <FEFF00e4> /Subject (\\344\\\n\\(b\\))"
        b" /Author <4 1 4> >>\nendobj\n"
    )
    table = b"xref\n0 1\n0000000000 65535 f \n7 1\n0000000009 00000 n \n"
    end = b"trailer\n<< /Size 8 /Info 7 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(body)
    assert document_information(body + table + end, NAME) == {"Title": "ä", "Subject": "ä(b)", "Author": "A@"}


def test_a_later_change_of_the_file_counts(tmp_path):
    first = pdf_with(tmp_path, Title="before", Creator="drawn")
    before = first.rindex(b"startxref")
    number = int(first[first.rindex(b"/Info") :].split()[1])
    added = b"%d 0 obj\n<< /Title (after) >>\nendobj\n" % number
    table = b"xref\n%d 1\n%010d 00000 n \n" % (number, len(first))
    previous = int(first[before:].split()[1])
    for subsection, title in ((table, "after"), (b"xref\n0 1\n0000000000 65535 f \n", "before")):
        trailer = b"trailer\n<< /Info %d 0 R /Prev %d >>\n" % (number, previous)
        end = b"startxref\n%d\n%%%%EOF\n" % (len(first) + len(added))
        assert document_information(first + added + subsection + trailer + end, NAME)["Title"] == title


def test_tables_that_lead_round_in_a_circle_are_an_error():
    table = b"xref\n0 1\n0000000000 65535 f \ntrailer\n<< /Info 7 0 R /Prev 9 >>\nstartxref\n9\n%%EOF\n"
    with pytest.raises(StudyError, match="damaged"):
        document_information(b"%PDF-1.4\n" + table, NAME)


def test_a_file_without_the_dictionary_tells_nothing(tmp_path):
    data = pdf_with(tmp_path, Title="x")
    without = re.sub(rb"/Info \d+ \d+ R", lambda found: b" " * len(found[0]), data)
    assert document_information(without, NAME) == {}


def test_a_file_that_is_cut_anywhere_is_an_error(tmp_path):
    data = pdf_with(tmp_path, Title="x (y)")
    for length in [*range(0, len(data) - 1, 37), len(data) - 3]:
        with pytest.raises(StudyError, match=r"cut short|not a PDF"):
            document_information(data[:length], NAME)


def test_bytes_missing_in_the_middle_are_an_error(tmp_path):
    data = pdf_with(tmp_path, Title="x")
    with pytest.raises(StudyError, match=r"figure\.pdf: the PDF is damaged"):
        document_information(data[:400] + data[410:], NAME)


def test_no_damage_ends_in_anything_but_an_answer_or_one_line(tmp_path):
    data, chance = pdf_with(tmp_path, Title="x (y)", Keywords="a; b"), random.Random(0)
    end = data.rindex(b"xref\n0 ") - 600  # the dictionary, the table and the trailer
    refused = []
    for _ in range(3000):
        broken = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            broken[chance.randrange(end, len(data))] = chance.randrange(256)
        try:
            document_information(bytes(broken), NAME)
        except StudyError as error:
            refused.append(str(error))
    assert len(refused) > 100
    assert not any("\n" in message for message in refused)
