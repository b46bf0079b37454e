"""What is told when something goes wrong: problem details, as RFC 9457 has them.

.. seealso:: https://www.rfc-editor.org/rfc/rfc9457
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as StarletteHTTPException

from image_labels.errors import BadSettings
from image_labels.queries import BadQuery

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
TOO_LONG = (50, 262)
"""Error codes of the database: the query ran out of time, before or while it was at work."""


class Problem(BaseModel):
    """Why a request could not be answered."""

    type: str = "about:blank"
    title: str = Field(description="The kind of problem")
    status: int = Field(description="The HTTP status")
    detail: str = Field(description="What is wrong, and what to do")


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}}
    for status, text in (("4XX", "The request is at fault"), ("5XX", "Something that the page needs is not there"))
}


def answer(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return a problem as a response."""
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return JSONResponse(problem.model_dump(), status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make all errors of an app problems."""
    handlers: dict[type[Exception], Any] = {
        StarletteHTTPException: _http,
        RequestValidationError: _not_understood,
        ModuleNotFoundError: _not_installed,
        BadQuery: _no_query,
        BadSettings: _not_set_up,
        ClientError: _s3,
        BotoCoreError: _s3,
        Exception: _unexpected,
    }
    try:
        from pymongo.errors import PyMongoError
    except ModuleNotFoundError:
        pass  # the first route that needs it says so
    else:
        handlers[PyMongoError] = _database
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def _http(request: Request, error: HTTPException) -> JSONResponse:
    return answer(error.status_code, str(error.detail), error.headers)


def _not_understood(request: Request, error: RequestValidationError) -> JSONResponse:
    faults = [f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors()]
    return answer(422, "; ".join(faults))


def _no_query(request: Request, error: BadQuery) -> JSONResponse:
    return answer(422, str(error))


def _not_installed(request: Request, error: ModuleNotFoundError) -> JSONResponse:
    log.error("The search page lacks a package", exc_info=error)
    return answer(
        503,
        f"Airflow's web server lacks the Python package {error.name}. "
        "Install the project's requirements.txt there as well, not on the workers alone.",
    )


def _not_set_up(request: Request, error: BadSettings) -> JSONResponse:
    log.error("The search page is not set up: %s", error)
    return answer(503, str(error))


def _s3(request: Request, error: ClientError | BotoCoreError) -> JSONResponse:
    response: Mapping[str, Any] = getattr(error, "response", {})
    code = response.get("Error", {}).get("Code")
    if code in ("NoSuchKey", "404", "PreconditionFailed", "412"):
        return answer(404, "S3 no longer has it")
    log.error("The search page could not read S3", exc_info=error)
    if code in ("AccessDenied", "403"):
        return answer(503, "S3 denies access; allow s3:GetObject, s3:PutObject and s3:ListBucket to the web server")
    return answer(503, "S3 cannot be reached (connection aws_default); try again in a moment")


def _database(request: Request, error: Exception) -> JSONResponse:
    if getattr(error, "code", None) in TOO_LONG:
        return answer(422, "The search takes too long; narrow it by a label, a day or a higher confidence")
    log.error("The search page could not read the database", exc_info=error)
    if getattr(error, "code", None) is None:
        return answer(503, "The database cannot be reached (connection documentdb_default); try again in a moment")
    return answer(503, "The database refuses (connection documentdb_default); the web server's log says why")


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    return answer(500, "An error of the page; the web server's log says more")
