"""The role's policy in the template is enough for all that the pipeline asks of AWS, and gives nothing besides.

No server here denies anything, so what the pipeline's clients ask for is written down and held against the policy.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from cfnlint.decode import decode
from fastapi.testclient import TestClient
from moto import mock_aws
from PIL import Image

from deploy import TEMPLATES
from image_labels.explorer import access
from image_labels.explorer.app import app
from image_labels.layout import Layout
from image_labels.notifications import TroubleNotifier
from image_labels.operators.forget import ForgetImageOperator
from pipeline import PREFIX, Run

if TYPE_CHECKING:
    from pipeline import Pipeline

TOPIC = "arn:aws:sns:us-east-1:123456789012:alarms"
NOT_BY_A_CLIENT_OF_THE_PIPELINE = {
    "secretsmanager:GetSecretValue",  # Airflow's backend
    "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*",  # the services, on the role's behalf
}  # fmt: skip

Asked = set[tuple[str, str, str]]
"""Actions, their resources, and for a listing the prefix."""


@pytest.fixture(params=["in place", "from another bucket"])
def landing_bucket(request: pytest.FixtureRequest, pipeline: Pipeline, s3: Any) -> Iterator[str]:
    """Where photos land, in the folder ``landing``."""
    name = pipeline.bucket if request.param == "in place" else f"{pipeline.bucket[:50]}-landing"
    if name != pipeline.bucket:
        s3.create_bucket(Bucket=name)
    pipeline.landing = f"s3://{name}/landing"
    yield name
    if name != pipeline.bucket:
        s3.delete_bucket(Bucket=name)


@pytest.fixture
def statements(bucket: str, landing_bucket: str) -> list[dict[str, Any]]:
    """The policy as CloudFormation makes it."""
    template = decode(str(TEMPLATES / "airflow.yaml"))[0]
    template["Resources"] = {"PipelinePolicy": template["Resources"]["PipelinePolicy"]}
    del template["Outputs"]
    given = dict.fromkeys(template["Parameters"], "arn:aws:x:::y") | {
        "Bucket": bucket, "Prefix": PREFIX, "LandingBucket": "" if landing_bucket == bucket else landing_bucket,
        "LandingFolder": "landing", "AlarmTopic": TOPIC, "MaxWorkers": "1",
    }  # fmt: skip
    with mock_aws():
        boto3.client("cloudformation", region_name="us-east-1").create_stack(
            StackName="airflow",
            TemplateBody=json.dumps(template),
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()],
        )
        iam = boto3.client("iam")
        [policy] = iam.list_policies(Scope="Local")["Policies"]
        version = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"])
    return [statement for statement in version["PolicyVersion"]["Document"]["Statement"] if statement]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What the pipeline's clients ask for from now on."""
    asked: Asked = set()
    make = AwsBaseHook.get_client_type

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        asked.update(needed(model.name, params))

    def get_client_type(self: Any, *arguments: Any, **options: Any) -> Any:
        client = make(self, *arguments, **options)
        client.meta.events.register("provide-client-params", note)
        return client

    monkeypatch.setattr(AwsBaseHook, "get_client_type", get_client_type)
    return asked


def needed(operation: str, params: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the permissions that a call needs.

    .. seealso:: https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
    """
    if operation == "DetectLabels":
        yield "rekognition:DetectLabels", "*", ""
        if place := params["Image"].get("S3Object"):
            # Rekognition reads it as who asks.
            yield "s3:GetObject", f"arn:aws:s3:::{place['Bucket']}/{place['Name']}", ""
    elif operation == "Publish":
        yield "sns:Publish", params["TargetArn"], ""
    elif operation in ("ListObjectsV2", "ListObjectVersions"):
        action = "s3:ListBucket" if operation == "ListObjectsV2" else "s3:ListBucketVersions"
        yield action, f"arn:aws:s3:::{params['Bucket']}", params.get("Prefix", "")
    else:
        of_version = "Version" if "VersionId" in params else ""
        action = {"HeadObject": "GetObject", "CopyObject": "PutObject"}.get(operation, operation)
        yield f"s3:{action}{of_version}", f"arn:aws:s3:::{params['Bucket']}/{params['Key']}", ""
        if source := params.get("CopySource"):
            yield "s3:GetObject", f"arn:aws:s3:::{source['Bucket']}/{source['Key']}", ""


def allows(statement: Mapping[str, Any], action: str, resource: str, prefix: str) -> bool:
    """Tell whether a statement allows something."""
    if action not in listed(statement["Action"]):
        return False
    prefixes = statement.get("Condition", {}).get("StringLikeIfExists", {}).get("s3:prefix", ["*"])
    return any(fnmatchcase(resource, pattern) for pattern in listed(statement["Resource"]) if pattern) and any(
        fnmatchcase(prefix, pattern) for pattern in prefixes
    )


def listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.fixture
def page(database: Any, bucket: str, asked: Asked) -> Iterator[TestClient]:
    """The search page, for somebody who may read the DAG."""
    [may_read] = app.router.dependencies
    access.s3_client.cache_clear()
    app.dependency_overrides |= {
        may_read.dependency: lambda: None,
        access.database: lambda: database,
        access.layout: lambda: Layout(bucket, PREFIX),
    }
    yield TestClient(app)
    app.dependency_overrides.clear()
    access.s3_client.cache_clear()


def test_the_policy_allows_what_is_asked_for_and_nothing_besides(
    pipeline: Pipeline,
    landing_bucket: str,
    statements: list[dict[str, Any]],
    asked: Asked,
    page: TestClient,
    photos: dict[str, Path],
    s3: Any,
    collection: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    s3.put_bucket_versioning(Bucket=pipeline.bucket, VersioningConfiguration={"Status": "Enabled"})
    scan = io.BytesIO()
    Image.new("RGB", (100, 100), "teal").save(scan, "TIFF")
    s3.put_object(Bucket=landing_bucket, Key="landing/scan.tif", Body=scan.getvalue())
    s3.put_object(Bucket=landing_bucket, Key="landing/broken.jpg", Body=b"no picture")
    s3.upload_file(str(photos["rocket.jpg"]), landing_bucket, "landing/rocket.jpg")
    pipeline.run("run-1")
    s3.upload_file(str(photos["rocket.jpg"]), landing_bucket, "landing/copy.jpg")
    pipeline.run("run-2", day="2026-03-02")
    pipeline.rebuild()

    document = collection.find_one({"img": "scan.tif"})
    for address in (f"thumbnails/{document['sha256']}", f"pictures/{document['sha256']}", "reports", "runs"):
        assert page.get(f"/api/{address}").status_code == 200, address
    assert page.get(f"/s3/{pipeline.bucket}/{PREFIX}/reports/").status_code == 200

    Run(pipeline, "forget", "2026-03-02", {}).execute(ForgetImageOperator, "forget", image=document["_id"])
    assert collection.count_documents({}) == 2

    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_LABELS_ALARM_TOPIC", TOPIC)
    with mock_aws():
        boto3.client("sns", region_name="us-east-1").create_topic(Name="alarms")
        TroubleNotifier(subject="Failed", message="Run failed")({})

    denied = [each for each in asked if not any(allows(statement, *each) for statement in statements)]
    assert denied == []
    used = {action for action, _, _ in asked}
    given = {action for statement in statements for action in listed(statement["Action"])}
    assert given - used == NOT_BY_A_CLIENT_OF_THE_PIPELINE
    unused = [
        s["Sid"]
        for s in statements
        if used.intersection(listed(s["Action"])) and not any(allows(s, *each) for each in asked)
    ]
    assert unused == []
