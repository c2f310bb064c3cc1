from selfdraft.sources.cleaning import Conversation
from selfdraft.sources.origins import base_of, chats_in_turn, origins_of, shuffled, split_origins


def conversation(identity, *texts):
    roles = ("user", "assistant") * len(texts)
    return Conversation(identity, tuple({"role": r, "content": t} for r, t in zip(roles, texts, strict=False)))


def test_the_base_of_an_id_is_what_stands_before_the_last_number():
    assert [base_of(i) for i in ("QWJhYvA_0", "a_b_12", "a_1#2", "plain", "x_y", "tree#2")] == [
        "QWJhYvA",
        "a_b",
        "a",
        "plain",
        "x_y",
        "tree",
    ]


def test_pieces_of_a_chat_and_chats_that_share_a_long_exchange_are_one_origin():
    long = ("Tell me about rivers. " * 5, "They flow to the sea. " * 10)
    rows = [
        conversation("b_0", "Hi", "Hello!"),
        conversation("b_7", *long),
        conversation("c_0", "Hi", "Hello!"),
        conversation("a_1", "Well?", "Yes.", *long),
        conversation("a_2", "Other", "Text"),
    ]
    assert origins_of(rows) == ["a", "a", "c", "a", "a"]


def test_splits_are_disjoint_whole_and_follow_the_seed_alone():
    names = [f"o{n}" for n in range(1000)]
    splits = split_origins(names, 0, 0.1, 0.2)
    assert [len(splits[name]) for name in ("train", "validation", "held_out")] == [900, 20, 80]
    assert sorted(name for part in splits.values() for name in part) == sorted(names)
    assert splits == split_origins(reversed(names), 0, 0.1, 0.2)
    assert splits != split_origins(names, 1, 0.1, 0.2)


def test_no_split_of_few_origins_is_empty():
    for count in (3, 4, 10):
        splits = split_origins([str(n) for n in range(count)], 0, 0.1, 0.2)
        assert all(splits.values())


def test_the_order_of_a_name_does_not_depend_on_the_others():
    few, many = shuffled("abcdef", 3, "x"), shuffled("abcdefghijkl", 3, "x")
    assert few == [name for name in many if name in few]
    assert few != shuffled("abcdef", 4, "x")


def test_a_chat_of_many_pieces_waits_for_the_others():
    groups = {
        "long": [conversation(f"long_{n}", "q", "a") for n in range(50)],
        "one": [conversation("one_0", "q", "a")],
        "two": [conversation("two_0", "q", "a")],
    }
    order = chats_in_turn(groups, 0, "order")
    assert len(order) == 52
    assert {base_of(identity) for identity in order[:3]} == {"long", "one", "two"}
