"""Arrow as workers load it."""

from __future__ import annotations

import subprocess
import sys

LOADED = """
import sys
from image_labels.tables import load_arrow

load_arrow()
import pyarrow as pa

table = pa.Table.from_pylist([{"label": "Person"}])
assert "pandas" not in sys.modules
assert pa.default_memory_pool().backend_name == "system"
assert table.to_pandas()["label"].tolist() == ["Person"]
assert pa.array(table.to_pandas()["label"]).to_pylist() == ["Person"]
"""


def test_arrow_is_loaded_without_pandas_and_makes_data_frames_for_who_asks() -> None:
    run = subprocess.run([sys.executable, "-c", LOADED], cwd="plugins", capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
