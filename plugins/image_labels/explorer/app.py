"""The search page and its API in Airflow's web server, for those who may read the pipeline's DAG."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.datastructures import MutableHeaders

from image_labels.explorer import api, folders, pictures, problems
from image_labels.explorer.access import DAG_ID

STATIC = {file.name: file for file in Path(__file__).with_name("static").iterdir()}

HEADERS = {
    # The page's own scripts and styles and nothing else; no text becomes HTML.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Cache-Control": "private, no-cache",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer that does not say otherwise."""


class DefaultHeaders:
    """Gives every answer of an app :data:`HEADERS`."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer."""

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)


app = FastAPI(
    title="Image labels",
    description="Finds the images of the collection by what is in them. The manual is docs/explorer.md.",
    version="1",
    dependencies=[Depends(requires_access_dag("GET", param_dag_id=DAG_ID))],
    docs_url=None,
    redoc_url=None,
    openapi_url=None,  # the API has it, behind the login
)
app.add_middleware(DefaultHeaders)
app.include_router(api.router, prefix="/api")
app.include_router(pictures.router, prefix="/api")
app.include_router(folders.router, include_in_schema=False)
problems.install(app)


@app.get("/", include_in_schema=False)
def page() -> FileResponse:
    """Show the search page."""
    return FileResponse(STATIC["index.html"])


@app.get("/static/{name}", include_in_schema=False)
def static(name: str) -> FileResponse:
    """Return a file of the page.

    :raises HTTPException: 404 if it has no such file
    """
    if name not in STATIC:
        raise HTTPException(404, "The page has no such file")
    return FileResponse(STATIC[name], headers={"Cache-Control": "private, max-age=300"})


@app.exception_handler(401)
def log_in(request: Request, error: HTTPException) -> Response:
    """Say that a login is needed, to a person with a way there."""
    if "text/html" not in request.headers.get("accept", ""):
        return problems.answer(401, str(error.detail), error.headers)
    airflow = request.scope.get("root_path", "").removesuffix("/image-labels")
    login = f"{airflow}/api/v2/auth/login?next={quote(str(request.url), safe='')}"
    return HTMLResponse(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=color-scheme content='light dark'>"
        "<title>Image labels</title><h1>Image labels</h1>"
        f'<p>This page is for who is logged in to Airflow. <a href="{escape(login)}">Log in</a></p>',
        401,
    )
