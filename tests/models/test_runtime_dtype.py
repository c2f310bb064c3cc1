"""What `auto` stands for is what the device multiplies fast."""

import pytest
import torch

from selfdraft.errors import StudyError
from selfdraft.models.runtime import resolve_dtype


@pytest.mark.parametrize("supported", [True, False])
def test_auto_is_bfloat16_where_it_is_multiplied(monkeypatch, supported):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported, raising=False)
    assert resolve_dtype("auto", "cpu") == (torch.bfloat16 if supported else torch.float32)
    assert resolve_dtype("auto", "cuda") == torch.bfloat16
    assert resolve_dtype("bfloat16", "cpu") == torch.bfloat16  # what is asked for is not changed


def test_an_unknown_format_is_named():
    with pytest.raises(StudyError, match="dtype: 'float8' is unknown; one of auto, bfloat16"):
        resolve_dtype("float8", "cpu")
