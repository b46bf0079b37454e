"""What the templates ask of AWS, where moto cannot make it; and that AWS would take them, as far as cfn-lint knows."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import decode

from deploy import PARTS, TEMPLATES
from package import PROJECT

ALL = {path.stem: decode(str(path))[0] for path in TEMPLATES.glob("*.yaml")}


def resources(part: str, kind: str) -> dict[str, Any]:
    return {name: it["Properties"] for name, it in ALL[part]["Resources"].items() if it["Type"] == kind}


def test_cfn_lint_finds_nothing() -> None:
    files = sorted(TEMPLATES.glob("*.yaml"))
    lint = subprocess.run([Path(sys.executable).with_name("cfn-lint"), *files], capture_output=True, text=True)
    assert lint.stdout == ""
    assert lint.returncode == 0


def test_every_template_is_a_part() -> None:
    assert set(ALL) == set(PARTS)


@pytest.mark.parametrize("part", PARTS)
def test_each_parameter_is_described_and_in_a_group(part: str) -> None:
    parameters = ALL[part]["Parameters"]
    groups = ALL[part]["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(parameters)
    assert all(parameter["Description"] for parameter in parameters.values())
    assert re.search(r"Costs? ", ALL[part]["Description"])


@pytest.mark.parametrize("part", PARTS)
def test_what_a_part_needs_an_earlier_part_puts_out(part: str) -> None:
    """Or `make deploy` knows it."""
    known = {"Name", "PluginsVersion", "RequirementsVersion"}
    for earlier in PARTS[: PARTS.index(part)]:
        known |= ALL[earlier].get("Outputs", {}).keys()
    assert {name for name, parameter in ALL[part]["Parameters"].items() if "Default" not in parameter} <= known


def test_the_secret_is_a_connection_of_airflow() -> None:
    [secret] = resources("documentdb", "AWS::SecretsManager::Secret").values()
    template = json.loads(secret["GenerateSecretString"]["SecretStringTemplate"]["Fn::Sub"])
    assert template["extra"]["tlsCAFile"] == "/usr/local/airflow/plugins/global-bundle.pem"
    assert secret["GenerateSecretString"]["GenerateStringKey"] == "password"
    assert set('/"@') <= set(secret["GenerateSecretString"]["ExcludeCharacters"])
    kwargs = backend_kwargs()
    assert re.match(kwargs["connections_lookup_pattern"], "documentdb_default")
    assert secret["Name"]["Fn::Sub"] == f"{kwargs['connections_prefix']}/documentdb_default"


def backend_kwargs() -> dict[str, Any]:
    [environment] = resources("airflow", "AWS::MWAA::Environment").values()
    kwargs: dict[str, Any] = json.loads(environment["AirflowConfigurationOptions"]["secrets.backend_kwargs"]["Fn::Sub"])
    return kwargs


def test_each_variable_that_the_code_reads_has_a_secret() -> None:
    """Those of the DAG files, and of the package."""
    sources = [*PROJECT.glob("dags/*.py"), *PROJECT.glob("plugins/image_labels/**/*.py")]
    found = {
        name
        for file in sources
        for name in re.findall(r"\bimage_labels_(?:landing|bucket|prefix|\w*topic)\b", file.read_text())
    }
    kwargs = backend_kwargs()
    secrets = {it["Name"]["Fn::Sub"] for it in resources("airflow", "AWS::SecretsManager::Secret").values()}
    assert {f"{kwargs['variables_prefix']}/{name}" for name in found} == secrets
    assert all(re.match(kwargs["variables_lookup_pattern"], name) for name in found)


def test_rotation_makes_passwords_as_the_template_does() -> None:
    [secret] = resources("documentdb", "AWS::SecretsManager::Secret").values()
    [schedule] = resources("rotation", "AWS::SecretsManager::RotationSchedule").values()
    excluded = schedule["HostedRotationLambda"]["ExcludeCharacters"]
    assert excluded == secret["GenerateSecretString"]["ExcludeCharacters"]


def test_the_database_is_encrypted_audited_and_reached_over_tls_only() -> None:
    [cluster] = resources("documentdb", "AWS::DocDB::DBCluster").values()
    [group] = resources("documentdb", "AWS::DocDB::DBClusterParameterGroup").values()
    assert cluster["StorageEncrypted"] is True
    assert cluster["EnableCloudwatchLogsExports"] == ["audit", "profiler"]
    logs = {it["LogGroupName"]["Fn::Sub"] for it in resources("documentdb", "AWS::Logs::LogGroup").values()}
    assert logs == {"/aws/docdb/${Name}/audit", "/aws/docdb/${Name}/profiler"}
    assert group["Parameters"]["tls"] == "tls1.2+"
    assert group["Parameters"]["audit_logs"] == group["Parameters"]["profiler"] == "enabled"
    assert len(resources("documentdb", "AWS::DocDB::DBInstance")) == 3
    assert set(ALL["documentdb"]["Parameters"]["EngineVersion"]["AllowedValues"]) == {"5.0.0", "8.0.0"}


def test_the_database_is_not_lost_by_mistake() -> None:
    [cluster] = resources("documentdb", "AWS::DocDB::DBCluster").values()
    parameters = ALL["documentdb"]["Parameters"]
    assert cluster["DeletionProtection"] == {"Ref": "DeletionProtection"}
    assert parameters["DeletionProtection"]["Default"] == "true"
    assert cluster["BackupRetentionPeriod"] == {"Ref": "BackupDays"}
    assert parameters["BackupDays"]["Default"] >= 7
    whole = ALL["documentdb"]["Resources"]["Cluster"]
    assert whole["DeletionPolicy"] == whole["UpdateReplacePolicy"] == "Snapshot"


def test_the_database_lets_in_security_groups_and_no_addresses() -> None:
    for part in PARTS:
        rules = resources(part, "AWS::EC2::SecurityGroupIngress").values()
        assert all("SourceSecurityGroupId" in rule for rule in rules)
        groups = resources(part, "AWS::EC2::SecurityGroup")
        assert [name for name, group in groups.items() if "SecurityGroupIngress" in group] in (
            [],
            ["EndpointSecurityGroup"],
        )


def test_buckets_are_private_encrypted_versioned_and_reached_over_tls_only() -> None:
    buckets = resources("storage", "AWS::S3::Bucket")
    denied = {
        policy["Bucket"]["Ref"]: policy["PolicyDocument"]["Statement"][0]
        for policy in resources("storage", "AWS::S3::BucketPolicy").values()
    }
    assert set(buckets) == set(denied) == {"PipelineBucket", "CodeBucket"}
    for name, bucket in buckets.items():
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
        [rule] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
        assert denied[name]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert ALL["storage"]["Resources"][name]["DeletionPolicy"] == "RetainExceptOnCreate"


def test_what_cannot_be_made_anew_never_expires() -> None:
    """Photos, answers, reports, counts and the ledger."""
    rules = resources("storage", "AWS::S3::Bucket")["PipelineBucket"]["LifecycleConfiguration"]["Rules"]
    expiring = {rule["Prefix"]["Fn::Sub"] for rule in rules if "ExpirationInDays" in rule}
    assert expiring == {"${Prefix}/thumbnails/", "${Prefix}/staged/"}


def statements(part: str) -> list[dict[str, Any]]:
    found = []
    for policy in resources(part, "AWS::IAM::ManagedPolicy").values():
        found += policy["PolicyDocument"]["Statement"]
    for role in resources(part, "AWS::IAM::Role").values():
        for policy in role["Policies"]:
            found += policy["PolicyDocument"]["Statement"]
    return [statement.get("Fn::If", [None, statement])[1] for statement in found]


@pytest.mark.parametrize("part", ["airflow", "notebook"])
def test_a_role_is_given_single_actions(part: str) -> None:
    allowed = {
        "rekognition:DetectLabels", "s3:GetAccountPublicAccessBlock", "logs:DescribeLogGroups",
        "cloudwatch:PutMetricData",
    }  # fmt: skip
    for statement in statements(part):
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not [action for action in actions if action.endswith(":*") or action == "*"]
        if statement["Resource"] == "*":
            assert set(actions) <= allowed


def test_who_may_list_is_told_that_an_object_is_missing() -> None:
    """A missing object has no s3:prefix: with StringLike alone S3 would answer 403, and the pipeline waits for 404."""
    listing = [s for part in ("airflow", "notebook") for s in statements(part) if "s3:ListBucket" in s["Action"]]
    assert [list(statement["Condition"]) for statement in listing] == [["StringLikeIfExists"]] * 2


def test_the_environment_is_the_one_that_is_tested() -> None:
    [environment] = resources("airflow", "AWS::MWAA::Environment").values()
    assert f"apache-airflow=={environment['AirflowVersion']}\n" in (PROJECT / "requirements.txt").read_text()


def test_the_notebook_s_scripts_are_scripts() -> None:
    [lifecycle] = resources("notebook", "AWS::SageMaker::NotebookInstanceLifecycleConfig").values()
    script = lifecycle["OnStart"][0]["Content"]["Fn::Base64"]["Fn::Sub"]
    assert len(script) < 16_384
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    inner = script.partition("<<PYTHON\n")[2].partition("\nPYTHON\n")[0]
    told = {
        keyword.arg for node in ast.walk(ast.parse(inner)) if isinstance(node, ast.Call) for keyword in node.keywords
    }
    read = set(
        re.findall(r'environ[^"]*"(DOCUMENTDB_\w+)"', (PROJECT / "plugins/image_labels/notebook.py").read_text())
    )
    # The address is in the secret, and the names of database and collection are the usual ones.
    assert read - told == {"DOCUMENTDB_URI", "DOCUMENTDB_DATABASE", "DOCUMENTDB_COLLECTION"}


def test_checkov_s_skips_say_why() -> None:
    for template in ALL.values():
        for resource in template["Resources"].values():
            for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", ()):
                assert len(skip["comment"]) > 20
