"""What a number was computed with beside the code: machine, GPU and driver, Python and package versions."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

# What this package depends on directly, and the two optional ones that may make a number.
PACKAGES = (
    *("torch", "numpy", "safetensors", "tokenizers", "jinja2", "tqdm", "pyyaml", "jsonschema", "pandas", "scipy"),
    *(
        "matplotlib",
        "transformers",
        "datasets",
        "huggingface-hub",
        "gguf",
        "accelerate",
        "peft",
        "zstandard",
        "pypdf",
        "rich",
    ),
    *("typst", "economize", "snakemake"),
)
DRIVER = Path("/sys/module/nvidia/version")


def packages() -> dict[str, str]:
    """The versions of the packages of `PACKAGES` that are installed, from their own metadata."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def cpu_name() -> str:
    """The processor's model name where the system tells it, else its architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            named = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        named = ""
    return named or platform.processor() or platform.machine()


def driver_version() -> str | None:
    """The version of the NVIDIA driver, from the kernel or from nvidia-smi; None without one."""
    try:
        return DRIVER.read_text(encoding="utf-8").strip()
    except OSError:
        pass
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return next(iter(done.stdout.split()), None) if done.returncode == 0 else None


def machine(device: str = "cpu") -> dict[str, Any]:
    """Where this process computes on `device`; `gpu` and `driver` are None if that is the CPU."""
    gpu = None
    if device != "cpu":
        import torch

        gpu = torch.cuda.get_device_name(device)
    return {
        "host": platform.node(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "gpu": gpu,
        "driver": driver_version() if gpu else None,
        "python": platform.python_version(),
    }
