"""Draws Vega-Lite specifications in a process of its own.

vl-convert draws with V8, which keeps 70 MB of a worker's memory for the rest of its life. Called as a script, this
module reads specifications from its input and writes the drawings to its output, as JSON; it imports nothing of the
package.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

Spec = dict[str, Any]

PATIENCE = 120
"""Seconds after which a drawing is given up; it takes one or two."""


def draw(svg: Sequence[Spec], png: Spec) -> tuple[list[str], bytes]:
    """Draw specifications as SVG, and one as PNG.

    :raises RuntimeError: if vl-convert cannot draw one
    """
    done = subprocess.run(  # noqa: S603 - this very file
        # -P: a script's folder is not where its imports are looked for.
        [sys.executable, "-P", __file__],
        input=json.dumps({"svg": svg, "png": png}),
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"The charts could not be drawn: {done.stderr[-2000:]}")
    drawn = json.loads(done.stdout)
    return drawn["svg"], base64.b64decode(drawn["png"])


def _convert(svg: Sequence[Spec], png: Spec) -> dict[str, Any]:
    import vl_convert

    return {
        "svg": [vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]) for spec in svg],
        "png": base64.b64encode(vl_convert.vegalite_to_png(png, scale=2, allowed_base_urls=[])).decode(),
    }


if __name__ == "__main__":
    json.dump(_convert(**json.load(sys.stdin)), sys.stdout)
