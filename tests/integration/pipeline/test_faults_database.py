"""The primary of the database goes away in mid-ingest: stepped down, or killed."""

from __future__ import annotations

import json
import random
import subprocess
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pymongo
import pytest
from pymongo.errors import BulkWriteError

from chaos import SEED, try_as_airflow
from image_labels import documents, jsonlines
from image_labels.claims import Budget, Claims
from image_labels.operators.ingest import IngestLabelsOperator
from pipeline import Pipeline, Run
from ports import HOST, free_port
from servers import MONGOD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pymongo.collection import Collection

DAY = datetime(2026, 3, 1, tzinfo=UTC)
DOCUMENTS = 20_000


@dataclass
class ReplicaSet:
    """Three servers that elect a primary within a second or two.

    :param servers: by port
    """

    folder: Path
    servers: dict[int, subprocess.Popen[bytes]]

    @classmethod
    def start(cls, folder: Path) -> ReplicaSet:
        """Start the servers and make them a set, which will elect a primary."""
        replica_set = cls(folder, {})
        for _ in range(3):
            port = free_port(replica_set.servers)
            replica_set.start_server(port)
        members = [{"_id": number, "host": f"{HOST}:{port}"} for number, port in enumerate(replica_set.servers)]
        for each in replica_set.servers:
            with pymongo.MongoClient(HOST, each, directConnection=True) as client:
                client.admin.command("ping")
        with pymongo.MongoClient(HOST, port, directConnection=True) as client:
            settings = {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 200}
            client.admin.command("replSetInitiate", {"_id": "faults", "members": members, "settings": settings})
        return replica_set

    def start_server(self, port: int) -> None:
        """Start one of the servers, for the first time or again."""
        data = self.folder / str(port)
        data.mkdir(exist_ok=True)
        options = (
            "--replSet=faults", f"--bind_ip={HOST}", f"--port={port}", f"--dbpath={data}", "--nounixsocket", "--quiet",
            "--wiredTigerCacheSizeGB=0.25", "--oplogSize=200", "--setParameter=enableTestCommands=1",
            "--setParameter=diagnosticDataCollectionEnabled=false",
        )  # fmt: skip
        self.servers[port] = subprocess.Popen([MONGOD, *options], stdout=subprocess.DEVNULL)

    @property
    def hosts(self) -> str:
        return ",".join(f"{HOST}:{port}" for port in self.servers)

    def client(self) -> pymongo.MongoClient[dict[str, Any]]:
        return pymongo.MongoClient(f"mongodb://{self.hosts}/?replicaSet=faults&retryWrites=false", tz_aware=True)

    def primary(self) -> int:
        """Wait for a primary and return its port."""
        with self.client() as client:
            client.admin.command("ping")
            assert client.primary
            return client.primary[1]

    def step_down(self) -> None:
        """Make the primary give up its office."""
        with self.client() as client:
            client.admin.command("replSetStepDown", 5, secondaryCatchUpPeriodSecs=2)

    def kill(self) -> None:
        """Kill the primary."""
        server = self.servers[self.primary()]
        server.kill()
        server.wait()

    def revive(self) -> None:
        """Start again what was killed."""
        for port, server in list(self.servers.items()):
            if server.poll() is not None:
                self.start_server(port)

    def stop(self) -> None:
        """Kill all: nobody will look at their data again."""
        for server in self.servers.values():
            server.kill()
            server.wait()


@pytest.fixture(scope="module")
def replica_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    replica_set = ReplicaSet.start(tmp_path_factory.mktemp("replica-set"))
    yield replica_set
    replica_set.stop()


@pytest.fixture
def stored(
    replica_set: ReplicaSet, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Collection[dict[str, Any]]]:
    """The collection that the pipeline stores into, in the replica set; it is empty."""
    connection = {
        "conn_type": "mongo",
        "host": replica_set.hosts,
        "schema": "faults",
        "extra": {"tls": False, "replicaSet": "faults"},
    }
    replica_set.revive()
    monkeypatch.setenv("AIRFLOW_CONN_DOCUMENTDB_DEFAULT", json.dumps(connection))
    with replica_set.client() as client:
        client.drop_database("faults")
        yield client["faults"]["images"]


@pytest.fixture
def answers(pipeline: Pipeline, s3: Any) -> list[dict[str, Any]]:
    """The raw answers of a batch, which lie in S3."""
    analysis = {
        "at": "2026-03-01T12:00:00.000+00:00",
        "opened_at": "2026-03-01T11:00:00.000+00:00",
        "settings": {"min_confidence": 50.0, "max_labels": 100},
        "paid_by": "run-1",
        "dag_run": "run-1",
    }
    labels = [{"Name": f"Label {number}", "Confidence": 50 + number, "Parents": []} for number in range(40)]
    rows = [
        {
            "image": {"key": f"images/{number:06d}.jpg", "img": f"{number:06d}.jpg", "sha256": f"{number:064x}"},
            "answer": {"Labels": labels[: number % 40]},
            "analysis": analysis,
        }
        for number in range(DOCUMENTS)
    ]
    jsonlines.write(s3, pipeline.bucket, "results/batch-00000.jsonl.gz", rows)
    return rows


def ingest(pipeline: Pipeline) -> int:
    run = Run(pipeline, "run-1", DAY.date().isoformat(), {})
    results = f"s3://{pipeline.bucket}/results/batch-00000.jsonl.gz"
    return run.execute(IngestLabelsOperator, "batch.ingest", 0, results=results)


@pytest.mark.parametrize("fault", [ReplicaSet.step_down, ReplicaSet.kill])
@pytest.mark.parametrize("seed", [SEED])
def test_a_primary_that_goes_away_in_mid_ingest_costs_no_document(
    pipeline: Pipeline,
    replica_set: ReplicaSet,
    stored: Collection[dict[str, Any]],
    answers: list[dict[str, Any]],
    fault: Callable[[ReplicaSet], None],
    seed: int,
) -> None:
    moment = random.Random(seed).randrange(1, DOCUMENTS // 3)
    primary = replica_set.primary()

    def strike() -> None:
        while stored.estimated_document_count() < moment:
            time.sleep(0.005)
        fault(replica_set)

    striker = threading.Thread(target=strike, daemon=True)
    striker.start()
    try_as_airflow(lambda: ingest(pipeline))
    striker.join()

    assert replica_set.primary() != primary
    assert list(stored.find().sort("_id")) == [documents.build(row, DAY) for row in answers]


def test_claims_that_only_the_primary_has_so_far_do_not_count_as_made(
    replica_set: ReplicaSet, stored: Collection[dict[str, Any]]
) -> None:
    """Should it die now, two batches would ask about the same content."""
    claims = Claims(stored.database["claims"], "run-1", 0, Budget(), "settings")
    replicate_late(replica_set)
    with pytest.raises(BulkWriteError, match="replication"):
        claims.take(["a", "b"])
    claims.release()
    assert claims.take(["a", "b"]) == {"a": 0, "b": 0}


def replicate_late(replica_set: ReplicaSet) -> None:
    """Let the next insertion say that none but the primary has it in time."""
    error = {"code": 64, "errmsg": "waiting for replication timed out", "errInfo": {"wtimeout": True}}
    with replica_set.client() as client:
        client.admin.command(
            "configureFailPoint",
            "failCommand",
            mode={"times": 1},
            data={"failCommands": ["insert"], "writeConcernError": error},
        )


def test_documents_that_only_the_primary_has_so_far_do_not_count_as_stored(
    pipeline: Pipeline, replica_set: ReplicaSet, stored: Collection[dict[str, Any]], answers: list[dict[str, Any]]
) -> None:
    """Should it die now, nobody would have them any more."""
    stored.insert_one(documents.build(answers[0], DAY))
    replicate_late(replica_set)
    with pytest.raises(BulkWriteError, match="replication"):
        ingest(pipeline)
    assert ingest(pipeline) == DOCUMENTS
