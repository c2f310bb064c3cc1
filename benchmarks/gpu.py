"""Decoding on a CUDA GPU: correct against the CPU in float32, then timed against bandwidth and transformers.

    python benchmarks/gpu.py            # a Llama-3.2-1B-shaped model with random weights, made in a temporary folder

Prints one JSON object. Nothing but PyTorch, transformers and safetensors is needed.
"""

import argparse
import json
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from selfdraft.decoding.loop import speculate, vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.drafters.exit import ExitDrafter
from selfdraft.evaluation.machine import measure
from selfdraft.models.exit import untrained_exit
from selfdraft.models.llama import load_target
from selfdraft.models.runtime import start
from selfdraft.sources.reference import load_transformers

GREEDY = Policy("greedy")
SHAPE: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 128256,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def random_model(folder: Path, **changes: int) -> Path:
    """A model of SHAPE with normal weights (0.02), bfloat16, in transformers' format."""
    shape = SHAPE | changes
    hidden, inner = shape["hidden_size"], shape["intermediate_size"]
    q, kv = shape["num_attention_heads"] * shape["head_dim"], shape["num_key_value_heads"] * shape["head_dim"]
    generator = torch.Generator().manual_seed(0)

    def normal(*size: int) -> torch.Tensor:
        return (torch.randn(size, generator=generator) * 0.02).bfloat16()

    tensors = {"model.embed_tokens.weight": normal(shape["vocab_size"], hidden)}
    tensors["model.norm.weight"] = torch.ones(hidden, dtype=torch.bfloat16)
    parts = {"self_attn.q_proj": (q, hidden), "self_attn.k_proj": (kv, hidden), "self_attn.v_proj": (kv, hidden)}
    parts |= {"self_attn.o_proj": (hidden, q), "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden)}
    parts |= {"mlp.down_proj": (hidden, inner)}
    for layer in range(shape["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        tensors |= {f"{prefix}{name}.weight": normal(*size) for name, size in parts.items()}
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}{norm}.weight"] = torch.ones(hidden, dtype=torch.bfloat16)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(shape | {"dtype": "bfloat16"}))
    return folder


def correctness(folder: Path) -> dict[str, Any]:
    """Greedy float32 tokens on the GPU, captured and drafted, against the CPU's eager vanilla ones."""
    prompt = [[(7 * i) % 1000 + 5 for i in range(40)]]
    truth = vanilla(load_target(folder, torch.float32), prompt, GREEDY, 48, torch.Generator()).tokens
    target = start(folder, "float32", "cuda")
    generator = torch.Generator("cuda")
    drafter = ExitDrafter(target, untrained_exit(target, 1, "head_block"))
    return {
        "vanilla identical to CPU float32": vanilla(target, prompt, GREEDY, 48, generator).tokens == truth,
        "drafted identical to CPU float32": speculate(target, drafter, prompt, GREEDY, 4, 48, generator).tokens
        == truth,
    }


def synchronisations(work: Any) -> int:
    """How often `work()` makes the host wait for the device, as PyTorch counts it."""
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        work()
    torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in seen)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--layer", type=int, default=7, help="of the untrained exit")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        report: dict[str, Any] = correctness(random_model(Path(temporary) / "small", num_hidden_layers=3))
        folder = random_model(Path(temporary) / "target")
        target = start(folder, "bfloat16", "cuda")
        stock = load_transformers(folder, torch.bfloat16).cuda()
        drafter = ExitDrafter(target, untrained_exit(target, args.layer, "head"))
        generator, new = torch.Generator("cuda"), args.new_tokens
        prompt = [[(11 * i) % 100_000 + 5 for i in range(args.context)]]
        ids = torch.tensor(prompt, device="cuda")

        def timed(work: Any) -> float:
            torch.cuda.synchronize()
            begin = time.perf_counter()
            work()
            torch.cuda.synchronize()
            return time.perf_counter() - begin

        def transformers() -> None:
            stock.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new,
                min_new_tokens=new,
                do_sample=False,
                pad_token_id=0,
            )

        found: dict[str, list[Any]] = {"vanilla": [], "drafted": [], "transformers": []}
        for repeat in range(args.repeats + 1):
            runs = {
                "vanilla": vanilla(target, prompt, GREEDY, new, generator),
                "drafted": speculate(target, drafter, prompt, GREEDY, 4, new, generator),
                "transformers": timed(transformers),
            }
            if repeat:
                for name, run in runs.items():
                    found[name].append(run)
    machine = measure("cuda")
    bandwidth = machine["read_bandwidth_gb_s"] * 1e9
    plain = statistics.median(new / run.timings.decode_s for run in found["vanilla"])
    whole = statistics.median(new / (run.timings.prefill_s + run.timings.decode_s) for run in found["vanilla"])
    theirs = statistics.median(new / seconds for seconds in found["transformers"])
    bytes_per_token = found["vanilla"][0].timings.bytes_read / new
    efficiency = []
    for alone, drafted in zip(found["vanilla"], found["drafted"], strict=True):
        t, cycles = drafted.timings, len(drafted.cycles)
        predicted = (new / cycles) * (alone.timings.decode_s / new) / ((t.draft_s + t.verify_s) / cycles)
        efficiency.append(alone.timings.decode_s / t.decode_s / predicted)
    cycles = len(found["drafted"][0].cycles)
    with torch.inference_mode():
        waits = synchronisations(lambda: speculate(target, drafter, prompt, GREEDY, 4, new, generator))
    report |= {
        "machine": machine,
        "vanilla, tokens/s of decode": round(plain, 1),
        "share of the rate that bandwidth allows": round(plain * bytes_per_token / bandwidth, 3),
        "vanilla / transformers eager, prefill included": round(whole / theirs, 2),
        "drafted / vanilla": round(statistics.median(
            a.timings.decode_s / b.timings.decode_s for a, b in zip(found["vanilla"], found["drafted"], strict=True)
        ), 3),
        "efficiency": round(statistics.median(efficiency), 3),
        "host waits a cycle": round(waits / cycles, 2),
    }  # fmt: skip
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
