"""The names and the order of the columns of the raw tables and of results.csv."""

SETTINGS = ("drafter", "layer", "T", "capacity", "objective", "seed", "policy", "gamma", "dataset", "drafting")
CHECKPOINT = tuple(name for name in SETTINGS if name not in ("policy", "gamma", "drafting"))
NUMERIC_SETTINGS = ("layer", "T", "seed", "gamma")

# Raw tables: columns after the settings. Sums are over the tokens of one conversation, or over one run.
QUALITY_SUMS = (
    "tokens",
    "kl_sum",
    "kl_at_1_sum",
    "ce_sum",
    "top1_sum",
    "top5_sum",
    "agreement_sum",
    "teacher_ce_sum",
    "teacher_top1_sum",
)
TRAINED = ("trained_parameters", "trained_bytes")
ACCEPTANCE_NUMBERS = ("cycle", "drafted", "accepted", "overlap_sum", "new_tokens", "cut", "identical")
SPEED_SUMS = (
    "new_tokens",
    "prefill_s",
    "decode_s",
    "cycles",
    "accepted",
    "draft_s",
    "verify_s",
    "accept_s",
    "bytes_read",
    "peak_memory_mb",
    "context",
    "captures",
    "waits",
    "cpu_s",
    "wait_s",
    "switches",
    "pressure_s",
    "reference_before_s",
    "reference_after_s",
    "disturbed",
    "attempts",
)
STEP_NUMBERS = ("context", "tokens", "round", "seconds")
LATER_NUMBERS = {"acceptance": ("looked_up",), "steps": ("bytes",)}  # 0 in tables that are older than the column
LATER_TEXTS = {"acceptance": ("exit_layers",)}  # empty in such tables
RAW_COLUMNS = {
    "quality": (*CHECKPOINT, "conversation", *QUALITY_SUMS, *TRAINED),
    "acceptance": (*SETTINGS, "prompt", *ACCEPTANCE_NUMBERS, "dtype"),
    "speed": (*SETTINGS, "method", "prompt", "repeat", "pair", *SPEED_SUMS, "dtype", "threads", "device"),
    "steps": (*SETTINGS, "step", *STEP_NUMBERS, "dtype", "threads", "device"),
}
RAW_NUMBERS = {
    "quality": (*QUALITY_SUMS, *TRAINED),
    "acceptance": ACCEPTANCE_NUMBERS,
    "speed": SPEED_SUMS,
    "steps": STEP_NUMBERS,
}

# results.csv
QUALITY = (
    "kl",
    "kl_at_1",
    "ce",
    "perplexity",
    "top1",
    "top5",
    "teacher_agreement",
    "teacher_ce",
    "teacher_top1",
)
ACCEPTANCE = (
    "accepted_mean",
    "accept_rate",
    "overlap",
    "tv",
    "target_calls_per_token",
    "target_calls_proxy",
)
SPEED = (
    "vanilla_tps",
    "transformers_tps",
    "spec_tps",
    "speedup",
    "speedup_vs_transformers",
    "prefill_ms",
    "draft_ms",
    "verify_ms",
    "accept_ms",
    "other_ms",
    "peak_memory_mb",
    "mbu",
    "predicted_cycle_ms",
    "predicted_speedup",
    "efficiency",
    "loop_overhead",
    "disturbed",
    "impossible",
)
WITHOUT_INTERVAL = ("peak_memory_mb", "disturbed", "impossible")
SIZES = (*TRAINED, "training_tokens", "training_seconds", "draft_step_bytes")  # as the folder of what was trained says
LOSSLESS = "lossless_against"  # whose text a draft's is: of the base model, or of one whose own layers were adapted
LAST = ("identical", LOSSLESS, *SIZES, "interval_note", "commit", "config_hash")


def accept_at(gamma: int) -> tuple[str, ...]:
    """The names accept_at_1 … accept_at_gamma."""
    return tuple(f"accept_at_{k}" for k in range(1, gamma + 1))


def results_columns(max_gamma: int) -> list[str]:
    """All columns of results.csv in order; `max_gamma` is the largest draft length in the tables."""
    columns = list(SETTINGS)
    for name in (*QUALITY, *ACCEPTANCE, *accept_at(max_gamma), *SPEED):
        columns.append(name)
        if name not in WITHOUT_INTERVAL:
            columns += [f"{name}_low", f"{name}_high"]
    return columns + list(LAST)
