"""Breaking things on purpose: workers that die, a network that fails, and a look at what is left behind."""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import os
import random
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import pyarrow.parquet as pq
from airflow.sdk import RetryAction
from botocore.httpsession import URLLib3Session
from pymongo import monitoring

from image_labels import analysis, charts, frequencies, indexes, ingest, intake, jsonlines  # noqa: F401 - see FORKS
from image_labels.operators.base import RETRY_POLICY
from pipeline import PREFIX, Pipeline, Run
from ports import HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from multiprocessing.process import BaseProcess
    from pathlib import Path

    from pymongo.database import Database

SEED = int(os.environ["CHAOS_SEED"])
"""Of all that is drawn. It is part of the names of the tests, so that one that failed can be had again."""

TRIES = 10

# --- What is left behind ---


def outcome(pipeline: Pipeline, database: Database[dict[str, Any]], s3: Any, run_id: str, day: str) -> dict[str, Any]:
    """Return all that a run has left for others, without the times and the place at which it was done."""
    table = s3.get_object(
        Bucket=pipeline.bucket, Key=f"{PREFIX}/reports/label_frequency/report_date={day}/label_frequency.parquet"
    )
    quarantine = jsonlines.read(s3, pipeline.bucket, f"{PREFIX}/quarantine/ds={day}/{run_id}.jsonl")
    documents = database["images"].find({}, {"analysis.at": 0, "analysis.opened_at": 0, "bucket": 0})
    return {
        "documents": {document["_id"]: document for document in documents},
        "report": pq.read_table(io.BytesIO(table["Body"].read())).to_pylist(),
        "quarantine": [{name: value for name, value in row.items() if name != "at"} for row in quarantine],
        "books": database["runs"].find_one(
            {"_id": run_id}, {"opened_at": 0, "closed_at": 0, "place": 0, "landing": 0, "quarantine": 0}
        ),
        # The names of counts tell when days were marked.
        "objects": [
            key for key in jsonlines.keys(s3, pipeline.bucket, "") if "/ledger/" not in key and "/counts/" not in key
        ],
    }


def contents(database: Database[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what the documents say of the images, whichever run it was that brought or paid for them."""
    documents = database["images"].find({}, {"analysis": 0, "logical_date": 0, "bucket": 0})
    return {document["_id"]: document for document in documents}


def wipe(pipeline: Pipeline, database: Database[dict[str, Any]], s3: Any) -> None:
    """Forget all runs, so that the next one begins as the first one did."""
    with ThreadPoolExecutor(8) as pool:
        keys = list(jsonlines.keys(s3, pipeline.bucket, ""))
        list(pool.map(lambda key: s3.delete_object(Bucket=pipeline.bucket, Key=key), keys))
    database.client.drop_database(database.name)
    for file in pipeline.state.iterdir():
        file.unlink()


def try_as_airflow(task: Callable[[], Any]) -> list[Exception]:
    """Try a task until it succeeds, as the DAG's retry policy has it.

    :param task: a task, or a run that goes on with the task that failed
    :returns: why tries failed
    """
    failures: list[Exception] = []
    while True:
        try:
            task()
        except Exception as error:
            failures.append(error)
            decision = RETRY_POLICY.evaluate(error, len(failures), TRIES)
            if decision.action is RetryAction.FAIL or len(failures) == TRIES:
                raise
        else:
            return failures


# --- Workers that die ---

FORKS = multiprocessing.get_context("forkserver")
"""A worker is forked from a process that has imported this module already, and so is at work within a moment."""
FORKS.set_forkserver_preload([__name__, "pytest.__main__", "airflow.providers.amazon.aws.hooks.rekognition"])


@dataclass(frozen=True)
class Death:
    """When a worker dies: at a message to or from a server, counted from the begin of the first of some tasks.

    :param tasks: any of them
    :param message: which one, the first being 1
    """

    tasks: frozenset[str]
    message: int


@dataclass(frozen=True)
class Worker:
    """A process that works on a DAG run until the run or the process ends.

    :param diary: one line for each message that was exchanged with a server: the task that was at work
    """

    process: BaseProcess
    diary: Path

    @classmethod
    def start(cls, pipeline: Pipeline, run_id: str, day: str, *, death: Death | None = None, **settings: Any) -> Worker:
        """Start one.

        :param settings: of the run, and of :mod:`image_labels.analysis` where they are in capitals
        """
        # Before Python 3.14 the process that is forked from does not know the path otherwise.
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
        diary = pipeline.state / f"{run_id}.diary"
        diary.unlink(missing_ok=True)
        arguments = (pipeline, dict(os.environ), run_id, day, settings, diary, death)
        process = FORKS.Process(target=_work, args=arguments, daemon=True)
        process.start()
        return cls(process, diary)

    def wait(self) -> str | None:
        """Return the task in which the worker was killed; None if the run has ended.

        :raises AssertionError: if a task failed
        """
        self.process.join()
        if self.process.exitcode == -signal.SIGKILL:
            return self.messages[-1]
        assert self.process.exitcode == 0, f"a task of the run failed: {self.messages[-1]}; its error is in the log"
        return None

    @property
    def messages(self) -> list[str]:
        """The diary's lines."""
        return self.diary.read_text().splitlines() if self.diary.exists() else []


def _work(
    pipeline: Pipeline,
    environment: Mapping[str, str],
    run_id: str,
    day: str,
    settings: dict[str, Any],
    diary: Path,
    death: Death | None,
) -> None:
    """Be the worker."""
    os.environ.update(environment)
    for name in filter(str.isupper, list(settings)):
        setattr(analysis, name, settings.pop(name))
    Diary(diary, death).open()
    pipeline.run(run_id, day, **settings)


class Diary(monitoring.CommandListener):
    """Keeps a worker's diary, and kills it in the midst of its work if that is its fate."""

    def __init__(self, file: Path, death: Death | None) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._death = death
        self._lock = threading.Lock()
        self._task = ""
        self._left: int | None = None

    def open(self) -> None:
        """Begin to listen, to what is sent to S3, Rekognition and the database."""
        execute, send = Run.execute, URLLib3Session.send

        def executed(run: Run, operator: type, task_id: str, map_index: int = -1, **arguments: Any) -> Any:
            self._begin(task_id if map_index < 0 else f"{task_id}[{map_index}]")
            return execute(run, operator, task_id, map_index, **arguments)

        def sent(session: URLLib3Session, request: Any) -> Any:
            self._note()
            response = send(session, request)
            self._note()
            return response

        Run.execute, URLLib3Session.send = executed, sent  # type: ignore[method-assign]
        monitoring.register(self)

    def _begin(self, task: str) -> None:
        with self._lock:
            self._task = task
            if self._death and self._left is None and task in self._death.tasks:
                self._left = self._death.message

    def _note(self) -> None:
        with self._lock:
            os.write(self._file, f"{self._task}\n".encode())
            if self._left is not None:
                self._left -= 1
                if self._left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self._note()

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        self._note()

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        self._note()


# --- A network that fails ---


@dataclass(frozen=True)
class Fate:
    """What becomes of a connection.

    :param refused: it is closed as soon as it is open
    :param delay: seconds that each piece of data is late
    :param request_bytes: after so many of them no more of what the client sends gets through
    :param answer_bytes: after so many of them no more of what the server sends gets through; a head, which comes in
        one packet, is not cut
    :param bodiless: the first answer with a body ends where the body would begin
    :param silent: where it would be closed it stays open, and nothing comes any more
    """

    refused: bool = False
    delay: float = 0.0
    request_bytes: float = float("inf")
    answer_bytes: float = float("inf")
    bodiless: bool = False
    silent: bool = False


@dataclass
class Network:
    """A TCP proxy in front of a server.

    :param target: port of the server
    :param seed: of the fates
    :param fate: draws what becomes of the next connection
    """

    target: int
    seed: int
    fate: Callable[[random.Random], Fate]
    port: int = field(default=0, init=False)
    faults: int = field(default=0, init=False)

    def __enter__(self) -> Self:
        self._random = random.Random(self.seed)
        self._loop = asyncio.new_event_loop()
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._await(self._listen())
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._await(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Break all connections and let nobody in."""
        self._await(self._close())
        self.faults += 1
        yield
        self._await(self._listen())

    def _await(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        connections = [task for task in self._connections if not task.done()]
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        fate = self.fate(self._random)
        try:
            if fate.refused:
                self.faults += 1
                return
            from_server, to_server = await asyncio.open_connection(HOST, self.target)
            ways = [
                asyncio.create_task(self._pass(reader, to_server, fate, fate.request_bytes)),
                asyncio.create_task(self._pass(from_server, writer, fate, fate.answer_bytes, fate.bodiless)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                to_server.close()
        except asyncio.CancelledError:
            # asyncio's server cannot do with a handler that is cancelled.
            pass
        finally:
            writer.close()
            self._connections.discard(task)

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        fate: Fate,
        left: float,
        bodiless: bool = False,
    ) -> None:
        """Pass on what one side says, as far as the connection's fate has it."""
        while data := await reader.read(1 << 16):
            if fate.delay:
                self.faults += 1
                await asyncio.sleep(fate.delay)
            head, body_follows = _head(data)
            left = head if body_follows and bodiless else max(left, head)
            passed = data[: int(min(left, len(data)))]
            left -= len(passed)
            writer.write(passed)
            await writer.drain()
            if left <= 0:
                self.faults += 1
                if fate.silent:
                    await asyncio.sleep(float("inf"))
                return


def _head(data: bytes) -> tuple[int, bool]:
    """Return the length of the head that data begin with, 0 for none, and whether it says that a body follows."""
    head, end, _ = data.partition(b"\r\n\r\n")
    if not (end and head.startswith(b"HTTP/1.1 ")):
        return 0, False
    return len(head + end), b"content-length: 0" not in head.lower() and not head.startswith(b"HTTP/1.1 100")
