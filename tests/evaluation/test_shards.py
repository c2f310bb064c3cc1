"""Parts of a stage's work are consecutive, differ by one at most, and are the whole work together."""

import pytest

from selfdraft.errors import StudyError
from selfdraft.evaluation.shards import Shard


@pytest.mark.parametrize(("items", "count"), [(0, 1), (1, 3), (7, 3), (12, 4), (24, 5), (3, 7)])
def test_all_parts_together_are_the_whole_in_its_order(items, count):
    parts = [Shard(number, count).of(range(items)) for number in range(1, count + 1)]
    assert [item for part in parts for item in part] == list(range(items))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_without_a_number_all_the_work_is_one_part():
    assert Shard().of("abc") == ["a", "b", "c"]
    assert Shard.from_text("1/1") == Shard()


@pytest.mark.parametrize("text", ["", "2", "0/3", "4/3", "1/0", "-1/3", "1/2/3", "a/b"])
def test_what_is_no_part_is_named(text):
    with pytest.raises(StudyError, match=r"--shard: .* is not a part such as 2/4"):
        Shard.from_text(text)
