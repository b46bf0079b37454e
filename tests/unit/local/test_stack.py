from __future__ import annotations

import json
import os
import re
import ssl
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509

import certificates
import distributed
import ports
import servers
import stack
from servers import Server, Site
from supervision import write_private

DOCUMENTED = servers.PROJECT / "docs/distributed.md"
AWKWARD = """a b'c"d$e`f\\g;h#i%j&k"""


@pytest.fixture
def site() -> Site:
    secrets = dict.fromkeys(
        (
            "aws_access_key_id",
            "aws_secret_access_key",
            "airflow_password",
            "airflow_fernet_key",
            "documentdb_password",
            "seaweedfs_key",
            "airflow_api_key",
            "airflow_jwt_key",
            "postgresql_password",
            "redis_password",
        ),
        AWKWARD,
    )
    numbers = {name: 20000 + number for number, name in enumerate(ports.DEFAULTS)}
    return Site(Path("/some where/it's #1"), numbers, secrets)


class TestPorts:
    @pytest.fixture
    def taken(self, monkeypatch: pytest.MonkeyPatch) -> set[int]:
        taken: set[int] = set()
        monkeypatch.setattr(ports, "is_free", lambda port: port not in taken)
        return taken

    @pytest.fixture
    def said(self) -> list[str]:
        return []

    def test_the_usual_ports_where_they_are_free(self, tmp_path, taken, said):
        settled = ports.settle(tmp_path / "ports.json", {}, (), said.append)
        assert (settled["airflow"], settled["s3"], settled["documentdb"]) == (8080, 8333, 27017)
        assert len(set(settled.values())) == len(ports.DEFAULTS)
        assert said == []

    def test_another_where_the_usual_is_taken_and_it_is_said_how_to_choose(self, tmp_path, taken, said):
        taken.add(8080)
        settled = ports.settle(tmp_path / "ports.json", {}, (), said.append)
        assert settled["airflow"] in ports.FREE
        assert settled["s3"] == 8333
        assert len(said) == 1
        assert "8080" in said[0]
        assert "AIRFLOW_PORT" in said[0]

    def test_what_was_settled_is_kept(self, tmp_path, taken, said):
        taken.add(8080)
        first = ports.settle(tmp_path / "ports.json", {}, (), said.append)
        taken.clear()
        assert ports.settle(tmp_path / "ports.json", {}, (), said.append) == first

    def test_a_port_that_is_taken_by_now_is_replaced_by_none_of_the_stack_s_own(self, tmp_path, taken, said):
        anything = dict.fromkeys(ports.DEFAULTS, ports.ANY)
        before = ports.settle(tmp_path / "ports.json", anything, (), said.append)
        taken |= {before["airflow"], before["s3"]}
        settled = ports.settle(tmp_path / "ports.json", anything, (), said.append)
        assert len(set(settled.values())) == len(ports.DEFAULTS)
        assert {name for name in settled if settled[name] != before[name]} == {"airflow", "s3"}

    def test_a_port_that_the_stack_itself_listens_on_stays(self, tmp_path, taken, said):
        first = ports.settle(tmp_path / "ports.json", {}, (), said.append)
        taken |= set(first.values())
        assert ports.settle(tmp_path / "ports.json", {}, set(first.values()), said.append) == first

    def test_a_chosen_port(self, tmp_path, taken, said):
        ports.settle(tmp_path / "ports.json", {}, (), said.append)
        assert ports.settle(tmp_path / "ports.json", {"airflow": 9090}, (), said.append)["airflow"] == 9090

    def test_a_chosen_port_that_is_taken_is_an_error(self, tmp_path, taken, said):
        taken.add(9090)
        with pytest.raises(ports.PortTaken, match=r"9090 is taken.*AIRFLOW_PORT"):
            ports.settle(tmp_path / "ports.json", {"airflow": 9090}, (), said.append)

    def test_any_port(self, tmp_path, taken, said):
        settled = ports.settle(tmp_path / "ports.json", {"airflow": ports.ANY}, (), said.append)
        assert settled["airflow"] in ports.FREE
        assert said == []

    def test_stacks_that_start_at_the_same_time_get_different_ports(self, tmp_path, taken, said, monkeypatch):
        anything = dict.fromkeys(ports.DEFAULTS, ports.ANY)
        settled = set()
        for process in range(7000, 7008):
            monkeypatch.setattr(os, "getpid", lambda process=process: process)
            settled |= set(ports.settle(tmp_path / f"{process}.json", anything, (), said.append).values())
        assert len(settled) == 8 * len(ports.DEFAULTS)

    def test_no_free_port_is_an_error(self, tmp_path, taken, said):
        taken |= set(ports.FREE)
        with pytest.raises(ports.PortTaken, match="10000 to 26999"):
            ports.settle(tmp_path / "ports.json", {}, (), said.append)

    def test_the_environment_chooses(self):
        assert ports.chosen({"AIRFLOW_PORT": "9090", "S3_PORT": "", "HOME": "/"}) == {"airflow": 9090}

    @pytest.mark.parametrize("text", ["http", "-1", "65536", "tcp://10.0.0.1:80"])
    def test_the_environment_chooses_no_port(self, text):
        with pytest.raises(ports.PortTaken, match="S3_PORT"):
            ports.chosen({"S3_PORT": text})


class TestFiles:
    def test_exports_survive_the_shell(self, tmp_path):
        (tmp_path / "env").write_text(stack.render_exports({"ONE": AWKWARD, "TWO": "plain"}))
        script = ". ./env && exec python3 -c \"import os; print(os.environ['ONE'], os.environ['TWO'], sep=chr(10))\""
        shown = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        assert shown.splitlines() == [AWKWARD, "plain"]

    def test_a_server_s_script_survives_the_shell(self):
        server = Server("shown", ["printf", r"%s\n", AWKWARD], {"VALUE": AWKWARD})
        script = server.script().replace("exec", 'printf "%s\\n" "$VALUE"; exec')
        shown = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True).stdout
        assert shown.splitlines() == [AWKWARD, AWKWARD]

    def test_all_of_the_exports(self, site):
        assert list(site.exports()) == [
            "AIRFLOW_URL",
            "AIRFLOW_USER",
            "AIRFLOW_PASSWORD",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_DEFAULT_REGION",
            "AWS_ENDPOINT_URL_S3",
            "AWS_ENDPOINT_URL_REKOGNITION",
            "IMAGE_LABELS_BUCKET",
            "IMAGE_LABELS_PREFIX",
            "DOCUMENTDB_URI",
            "DOCUMENTDB_DATABASE",
            "DOCUMENTDB_COLLECTION",
        ]

    def test_the_database_s_address_has_its_tls_options(self, site):
        assert parse_qs(urlsplit(site.documentdb_uri).query) == {
            "tls": ["true"],
            "tlsCAFile": ["/some where/it's #1/certificates/ca.crt"],
            "replicaSet": ["rs0"],
            "readPreference": ["secondaryPreferred"],
            "retryWrites": ["false"],
        }

    def test_secrets_are_drawn_once_and_nobody_else_reads_them(self, tmp_path):
        stack.make_secrets(tmp_path)
        first = (tmp_path / "secrets.json").read_text()
        stack.make_secrets(tmp_path)
        assert (tmp_path / "secrets.json").read_text() == first
        assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}

    def test_a_private_file_stays_private_when_it_is_written_again(self, tmp_path):
        (tmp_path / "file").write_text("for all to read")
        write_private(tmp_path / "file", "secret")
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


class TestServers:
    def all(self, site: Site) -> list[Server]:
        several = replace(site, workers=2)
        return [
            *(servers.documentdb(site), servers.s3(site), servers.rekognition(site), *servers.airflow(site)),
            *(distributed.postgresql(several), distributed.redis(several), *distributed.airflow(several)),
        ]

    def test_no_secret_stands_on_a_command_line(self, site):
        assert not [server.name for server in self.all(site) if AWKWARD in " ".join(server.command)]

    def test_nothing_listens_beyond_this_machine(self, site):
        assert "0.0.0.0" not in str(self.all(site))

    def test_workers_share_no_folder(self, site):
        workers = distributed.airflow(replace(site, workers=2))[-2:]
        assert [worker.name for worker in workers] == ["airflow-worker-1", "airflow-worker-2"]
        for name in ("AIRFLOW_HOME", "TMPDIR"):
            assert len({worker.environment[name] for worker in workers}) == 2
        assert workers[0].environment["AIRFLOW_VAR_IMAGE_LABELS_LANDING"].startswith("s3://")
        assert workers[0].environment["AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER"].startswith("s3://")

    def test_the_settings_are_those_that_are_written_down(self, site):
        environment = distributed.airflow_environment(replace(site, workers=2))
        table = re.findall(r"^\| `\[(\w+)\] (\w+)` \| (\d+|True)\b", DOCUMENTED.read_text(), re.MULTILINE)
        assert len(table) > 5
        for section, name, value in table:
            assert environment[f"AIRFLOW__{section}__{name}".upper()] == value

    def test_airflow_s_connections_have_the_shape_of_production(self, site):
        environment = servers.airflow_environment(site)
        mongo = json.loads(environment["AIRFLOW_CONN_DOCUMENTDB_DEFAULT"])
        assert mongo["conn_type"] == "mongo"
        assert mongo["extra"] == {
            "tls": True,
            "tlsCAFile": "/some where/it's #1/certificates/ca.crt",
            "replicaSet": "rs0",
            "readPreference": "secondaryPreferred",
            "retryWrites": False,
        }
        aws = json.loads(environment["AIRFLOW_CONN_AWS_DEFAULT"])
        assert aws["conn_type"] == "aws"
        assert aws["extra"]["service_config"]["s3"] == {"endpoint_url": site.url("s3")}

    def test_another_endpoint_takes_the_place_of_the_stand_in(self, site):
        elsewhere = Site(site.root, site.ports, site.secrets, "http://elsewhere:1")
        aws = json.loads(servers.airflow_environment(elsewhere)["AIRFLOW_CONN_AWS_DEFAULT"])
        assert aws["extra"]["service_config"]["rekognition"] == {"endpoint_url": "http://elsewhere:1"}
        assert elsewhere.exports()["AWS_ENDPOINT_URL_REKOGNITION"] == "http://elsewhere:1"


class TestCertificates:
    def test_the_server_s_certificate_is_of_the_authority(self, tmp_path):
        certificates.make(tmp_path)
        server = x509.load_pem_x509_certificate((tmp_path / certificates.SERVER).read_bytes())
        server.verify_directly_issued_by(
            x509.load_pem_x509_certificate((tmp_path / certificates.AUTHORITY).read_bytes())
        )
        context = ssl.create_default_context(cafile=str(tmp_path / certificates.AUTHORITY))
        context.load_cert_chain(tmp_path / certificates.SERVER)

    def test_the_key_is_private(self, tmp_path):
        certificates.make(tmp_path)
        assert stat.S_IMODE((tmp_path / certificates.SERVER).stat().st_mode) == 0o600

    def test_they_are_made_once(self, tmp_path):
        certificates.make(tmp_path)
        before = (tmp_path / certificates.SERVER).read_bytes()
        certificates.make(tmp_path)
        assert (tmp_path / certificates.SERVER).read_bytes() == before


class TestSystemLibraries:
    def test_a_missing_library_is_named_with_the_command_that_brings_it(self, tmp_path, monkeypatch):
        linked = "\tlibcurl.so.4 => not found\n\tlibm.so.6 => /lib/libm.so.6 (0x1)\n\tlibssl.so.3 => not found\n"
        monkeypatch.setattr(
            stack.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, linked)
        )
        (tmp_path / "mongod").touch()
        with pytest.raises(
            stack.StackError, match=r"(?s)libcurl\.so\.4.*apt-get install -y libcurl4 libssl3"
        ) as raised:
            stack.check_system_libraries(tmp_path / "mongod")
        assert "libm.so.6" not in str(raised.value)

    def test_missing_servers_of_several_workers_are_named_with_the_command_that_brings_them(self, monkeypatch):
        monkeypatch.setattr(distributed.shutil, "which", lambda name, path: None)
        with pytest.raises(stack.StackError, match="apt-get install -y postgresql redis-server"):
            stack.check_distributed_servers()

    def test_a_missing_program(self, tmp_path):
        with pytest.raises(stack.StackError, match="make setup"):
            stack.check_system_libraries(tmp_path / "mongod")
