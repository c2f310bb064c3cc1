"""Which device `auto` is, and that a GPU that SLURM gave is not left idle in silence."""

import pytest
import torch

from selfdraft.errors import StudyError
from selfdraft.models.runtime import resolve_device

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU that PyTorch can use")


@pytest.fixture(autouse=True)
def no_job(monkeypatch):
    for name in ("SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES", "SELFDRAFT_DEVICE"):
        monkeypatch.delenv(name, raising=False)


@without_gpu
def test_auto_is_the_cpu_where_there_is_no_gpu(monkeypatch):
    assert resolve_device("auto") == "cpu"
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert resolve_device("auto") == "cpu"  # a job that was given none
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert resolve_device("auto") == "cpu"


@without_gpu
def test_a_gpu_that_slurm_gave_and_pytorch_cannot_use_is_an_error(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(StudyError, match=r"SLURM gave this job GPU 0, but PyTorch .* set SELFDRAFT_DEVICE=cpu"):
        resolve_device("auto")
    assert resolve_device("cpu") == "cpu"
    monkeypatch.setenv("SELFDRAFT_DEVICE", "cpu")
    assert resolve_device("auto") == "cpu"


@without_gpu
def test_a_gpu_that_is_not_there_is_named():
    with pytest.raises(StudyError, match="no CUDA device is available"):
        resolve_device("cuda")


def test_the_environment_is_checked_like_the_option(monkeypatch):
    monkeypatch.setenv("SELFDRAFT_DEVICE", "gpu")
    with pytest.raises(StudyError, match="'gpu' is unknown"):
        resolve_device("auto")
