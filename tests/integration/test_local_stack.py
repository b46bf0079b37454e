"""The stack itself: what it lets in, what it keeps, and what it leaves behind."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import boto3
import httpx
import psutil
import pymongo
import pytest
from botocore.exceptions import ClientError
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError

import certificates
import ports
import servers
from servers import HOST, Site
from stack import Stack, StackError
from supervision import MARK


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that a test may stop, in a folder too deep for the path of a Unix socket and with an awkward name."""
    root = tmp_path_factory.mktemp("own") / ("deep" * 30) / "it's # 1"
    stack = Stack(root, airflow=False, wanted_ports=dict.fromkeys(ports.DEFAULTS, ports.ANY))
    yield stack
    stack.stop()


def s3_client(site: Site, secret: str | None = None):
    return boto3.client(
        "s3",
        endpoint_url=site.url("s3"),
        region_name="us-east-1",
        aws_access_key_id=site.secrets["aws_access_key_id"],
        aws_secret_access_key=secret or site.secrets["aws_secret_access_key"],
    )


class TestDoors:
    def test_the_database_speaks_tls_only(self, site):
        with (
            pymongo.MongoClient(HOST, site.ports["documentdb"], serverSelectionTimeoutMS=1000) as client,
            pytest.raises(ServerSelectionTimeoutError),
        ):
            client.admin.command("ping")

    def test_the_database_s_certificate_is_checked(self, site):
        with (
            pymongo.MongoClient(HOST, site.ports["documentdb"], tls=True, serverSelectionTimeoutMS=1000) as client,
            pytest.raises(ServerSelectionTimeoutError, match="CERTIFICATE_VERIFY_FAILED"),
        ):
            client.admin.command("ping")

    def test_the_database_refuses_a_wrong_password(self, site):
        uri = site.documentdb_uri.replace(site.secrets["documentdb_password"], "wrong")
        with pymongo.MongoClient(uri) as client, pytest.raises(OperationFailure, match="Authentication failed"):
            client.admin.command("ping")

    def test_the_database_wants_a_password(self, site):
        uri = site.documentdb_uri.replace(f"{servers.DOCUMENTDB_USER}:{site.secrets['documentdb_password']}@", "")
        with pymongo.MongoClient(uri) as client, pytest.raises(OperationFailure, match="requires authentication"):
            client["any"]["collection"].find_one()

    def test_s3_refuses_a_wrong_secret(self, site):
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            s3_client(site, "wrong").list_buckets()

    def test_s3_does_not_make_a_bucket_by_itself(self, s3):
        with pytest.raises(ClientError, match="NoSuchBucket"):
            s3.put_object(Bucket="not-there", Key="key", Body=b"")

    def test_s3_s_inner_parts_show_and_take_nothing(self, site, s3, bucket):
        s3.put_object(Bucket=bucket, Key="key", Body=b"private")
        master, volume, filer = (site.url(f"seaweedfs_{part}") for part in ("master", "volume", "filer"))
        answers = [
            httpx.get(f"{master}/dir/assign"),
            httpx.get(f"{volume}/"),
            httpx.get(f"{filer}/buckets/{bucket}/key"),
            httpx.put(f"{filer}/buckets/{bucket}/key", content=b"forged"),
            httpx.delete(f"{filer}/buckets/{bucket}", params={"recursive": "true"}),
        ]
        assert {answer.status_code for answer in answers} <= {401, 404}
        assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == b"private"

    @pytest.mark.parametrize("part", ["s3", "master", "volume", "filer", "admin"])
    def test_s3_s_inner_parts_want_a_certificate(self, site, part):
        context = ssl.create_default_context(cafile=str(site.root / "certificates" / certificates.AUTHORITY))
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((HOST, site.ports[f"seaweedfs_{part}_grpc"])) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
            pytest.raises(ssl.SSLError, match="certificate required"),
        ):
            connection.recv(1)

    def test_everything_listens_on_this_machine_only(self, stack):
        listening = [
            connection.laddr
            for process in stack.supervision.processes()
            for connection in process.net_connections()
            if connection.status == psutil.CONN_LISTEN
        ]
        assert {address.ip for address in listening} == {HOST}
        assert {"s3", "documentdb", "rekognition"} <= {
            name for name, port in stack.site.ports.items() if port in {address.port for address in listening}
        }

    def test_no_secret_is_seen_in_the_list_of_processes(self, stack):
        shown = "\n".join(" ".join(process.cmdline()) for process in stack.supervision.processes())
        assert not [name for name, secret in stack.site.secrets.items() if secret in shown]


class TestLife:
    def test_data_survives_a_restart_on_other_ports(self, own_stack):
        own_stack.start()
        site = own_stack.site
        s3_client(site).put_object(Bucket=servers.BUCKET, Key="kept", Body=b"bytes")
        with pymongo.MongoClient(site.documentdb_uri) as client:
            client["any"]["collection"].insert_one({"_id": "kept"})
        own_stack.stop()
        with ExitStack() as others:
            for port in site.ports.values():
                others.enter_context(socket.create_server((HOST, port)))
            own_stack.start()
        assert not site.ports.items() & own_stack.site.ports.items()
        site = own_stack.site
        assert s3_client(site).get_object(Bucket=servers.BUCKET, Key="kept")["Body"].read() == b"bytes"
        with pymongo.MongoClient(site.documentdb_uri) as client:
            assert client["any"]["collection"].find_one() == {"_id": "kept"}

    def test_a_second_start_leaves_everything_as_it_is(self, own_stack):
        own_stack.start()
        before = {process.pid for process in own_stack.supervision.processes()}
        own_stack.start()
        assert {process.pid for process in own_stack.supervision.processes()} == before

    def test_stop_leaves_no_process_and_may_be_said_twice(self, own_stack):
        own_stack.start()
        started = own_stack.supervision.processes()
        assert own_stack.stop() == len(started) > 3
        assert not [process for process in started if process.is_running()]
        assert own_stack.stop() == 0

    def test_stop_ends_what_a_killed_supervisor_left_and_nothing_else(self, own_stack):
        other = subprocess.Popen(["sleep", "60"])
        own_stack.start()
        started = own_stack.supervision.processes()
        supervisor = next(process for process in started if "supervisor.supervisord" in process.cmdline())
        supervisor.kill()
        supervisor.wait()
        own_stack.stop()
        assert not [process for process in started if process.is_running()]
        assert other.poll() is None
        other.kill()
        other.wait()

    def test_stop_ends_what_others_left_without_waiting_for_it(self, own_stack):
        own_stack.start()
        script = "trap 'echo ended; exit' TERM; echo runs; sleep 50 & wait"
        left = subprocess.Popen(["bash", "-c", script], env={MARK: str(own_stack.root)}, stdout=subprocess.PIPE)
        assert left.stdout.readline() == b"runs\n"
        own_stack.supervision.stop(timeout=100)
        assert left.communicate() == (b"ended\n", None)

    def test_another_rekognition_ends_the_stand_in_and_touches_nothing_else(self, own_stack):
        own_stack.start()
        before = {process.pid: process.cmdline() for process in own_stack.supervision.processes()}
        Stack(own_stack.root, airflow=False, rekognition_url="http://127.0.0.1:9").start()
        after = {process.pid for process in own_stack.supervision.processes()}
        assert after < before.keys()
        assert ["uvicorn" in before[pid] for pid in before.keys() - after] == [True]
        assert own_stack.supervision.states() == {"documentdb": "RUNNING", "s3": "RUNNING"}

    def test_a_server_that_does_not_start_is_named_with_the_end_of_its_log(self, own_stack, monkeypatch):
        monkeypatch.setattr(servers, "PACKAGES", own_stack.root / "nothing here")
        with pytest.raises(StackError, match=r"(?s)rekognition does not answer.*object_detector\.tflite"):
            own_stack.start()


READ_WITH_PLAIN_TOOLS = """
import io, os

import boto3, duckdb, pyarrow, pymongo
import pyarrow.dataset, pyarrow.parquet

bucket = os.environ["IMAGE_LABELS_BUCKET"]
table = pyarrow.table({"label": ["Cat", "Dog"], "images": [2, 1]})
file = io.BytesIO()
pyarrow.parquet.write_table(table, file)
s3 = boto3.client("s3")
s3.put_object(Bucket=bucket, Key="table.parquet", Body=file.getvalue())
print(s3.list_objects_v2(Bucket=bucket)["KeyCount"])
print(boto3.client("rekognition").meta.endpoint_url == os.environ["AWS_ENDPOINT_URL_REKOGNITION"])

client = pymongo.MongoClient(os.environ["DOCUMENTDB_URI"])
collection = client[os.environ["DOCUMENTDB_DATABASE"]][os.environ["DOCUMENTDB_COLLECTION"]]
print(collection.count_documents({}))

from pyarrow.fs import S3FileSystem
files = S3FileSystem(endpoint_override=os.environ["AWS_ENDPOINT_URL_S3"])
report = pyarrow.dataset.dataset(f"{bucket}/table.parquet", filesystem=files)
print(duckdb.sql("SELECT sum(images) FROM report").fetchall()[0][0])
"""


def test_other_tools_need_nothing_but_the_exports(stack):
    command = [
        "sh",
        "-c",
        '. "$0" && exec "$1" -c "$2"',
        str(stack.root / "env"),
        sys.executable,
        READ_WITH_PLAIN_TOOLS,
    ]
    shown = subprocess.run(command, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert shown.stdout.split() == ["1", "True", "0", "3"], shown.stderr
