"""A traced answer of a tiny model, for tests: exits, lookup, and what they were really drawn from."""

import json

import torch
from tiny import tiny_tokenizer
from tiny_llama import perturbed_exit, tiny_llama

from selfdraft.decoding.loop import Timings, cycles
from selfdraft.drafters.exit import ExitDrafter
from selfdraft.drafters.lookup import LookupDrafter
from selfdraft.sources.chat import ChatTokenizer
from selfdraft.traces.record import Recorder
from selfdraft.traces.watching import Watched

PROMPTS = ("the soil and the soil and the", "oil the chain")
HTML = "<script>alert(1)</script> & <b>bold</b>"


class Spy:
    """Notes every draft as the loop gets it, between the loop and whom it asks."""

    def __init__(self, inner):
        self.inner, self.drafts = inner, []
        self.depths, self.learns = inner.depths, inner.learns

    def start(self, session):
        self.inner.start(session)

    def draft(self, session, gamma, policy, generator):
        self.drafts.append(self.inner.draft(session, gamma, policy, generator))
        return self.drafts[-1]

    def observe(self, outcome):
        self.inner.observe(outcome)


def tokenizer():
    return ChatTokenizer(tiny_tokenizer(), "", {}, [])


def model():
    return tiny_llama(vocab=tiny_tokenizer().get_vocab_size())


def drafter(target, kind):
    if kind == "lookup":
        return LookupDrafter(2)
    exit_ = perturbed_exit(target, 2, "head", 0.05)
    if kind == "trimmed":
        exit_.trim(torch.arange(0, target.config.vocab_size, 2))
    return ExitDrafter(target, exit_)


def traced(kind, policy, texts=PROMPTS, gamma=3, tokens=12, eos=frozenset()):
    """(trace, output tokens by row, drafts, target) of a watched run."""
    chat, target = tokenizer(), model()
    prompts = [chat.encode(text) for text in texts]
    spy = Spy(drafter(target, kind))
    recorder, timings = Recorder(Watched(spy.inner), chat, prompts), Timings()
    recorder.watched.drafter = spy  # the loop asks the watch, the watch asks the spy
    output = [[] for _ in prompts]
    generator = torch.Generator().manual_seed(3)
    for cycle in cycles(target, recorder.watched, prompts, policy, gamma, tokens, generator, eos, timings=timings):
        recorder.add(cycle, timings)
        output[cycle.row] += cycle.tokens
    about = {
        **{"target": "tiny", "drafter": kind, "gamma": gamma, "seed": 3, "threads": 1},
        **{"dtype": "float32", "device": "cpu"},
        "policy": {"temperature": policy.temperature, "top_p": policy.top_p, "top_k": policy.top_k},
    }
    found = [cycle for answer in recorder.answers for cycle in answer["cycles"]]
    names = ("tokens_per_s", "speedup", "prefill_s", "decode_s", "draft_s", "verify_s", "accept_s")
    summary = {
        **{"tokens": sum(map(len, output)), "cycles": len(found), "accepted_mean": None},
        "accepted": sum(cycle["accepted"] for cycle in found),
        **dict.fromkeys(names, 1.0),
        **{name: getattr(timings, name) for name in ("draft_s", "verify_s", "accept_s")},
    }
    trace = json.loads(json.dumps(recorder.trace(texts, about, summary)))
    return trace, output, spy.drafts, target


def count(trace):
    """The tokens that a page must show."""
    cycles = [cycle for answer in trace["answers"] for cycle in answer["cycles"]]
    return sum(len(cycle["drafted"]) + (cycle["said"] is not None) for cycle in cycles)
