"""What the package adds to Airflow itself. Every Airflow process loads this file, so it imports next to nothing."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from image_labels import listener
from image_labels.operators.base import S3Link


async def explorer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve the pages; what they need is imported when the first of them is asked for."""
    from image_labels.explorer.app import app

    await app(scope, receive, send)


class ImageLabelsPlugin(AirflowPlugin):
    """The search page under ``/image-labels/``, the tasks' links to S3, and the run's note."""

    name = "image_labels"
    fastapi_apps = [{"app": explorer, "url_prefix": "/image-labels", "name": "Image labels"}]
    external_views = [
        {
            "name": "Image labels",
            # Relative to Airflow's own base, whatever path that has.
            "href": "image-labels/",
            "icon": "image-labels/static/icon.svg",
            "icon_dark_mode": "image-labels/static/icon-dark.svg",
            "destination": "nav",
            "nav_top_level": True,
            "url_route": "image_labels",
        }
    ]
    operator_extra_links = [S3Link()]
    listeners = [listener]
