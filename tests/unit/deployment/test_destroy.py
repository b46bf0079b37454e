"""What `make destroy` takes away and what it leaves, in an AWS that moto plays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from moto.s3.models import FakeBucket

from deploy import DeployError

if TYPE_CHECKING:
    import boto3

    from conftest import Deploy

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")

BUCKET = "album-123456789012-us-east-1"
CODE = "album-code-123456789012-us-east-1"


@pytest.fixture(autouse=True)
def made(deployment: Deploy, dist: Path, aws: boto3.Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The stack `storage`, and a photo with two versions that was deleted."""
    # As their DeletionPolicy says, which moto does not know.
    monkeypatch.setattr(FakeBucket, "delete_from_cloudformation_json", lambda *_, **__: None)
    deployment("storage").deploy(dist)
    s3 = aws.client("s3")
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    for content in (b"old", b"new"):
        s3.put_object(Bucket=BUCKET, Key="image-labels/images/a.jpg", Body=content)
    s3.delete_object(Bucket=BUCKET, Key="image-labels/images/a.jpg")
    yield
    aws.client("cloudformation").delete_stack(StackName="album-storage")
    for bucket in buckets(aws):
        deployment().empty(bucket)
        s3.delete_bucket(Bucket=bucket)


def buckets(aws: boto3.Session) -> list[str]:
    return [bucket["Name"] for bucket in aws.client("s3").list_buckets()["Buckets"]]


def stacks(aws: boto3.Session) -> list[str]:
    return [stack["StackName"] for stack in aws.client("cloudformation").describe_stacks()["Stacks"]]


def test_the_bucket_is_emptied_with_all_versions_when_its_name_is_said(
    deployment: Deploy, aws: boto3.Session, said: list[str]
) -> None:
    deployment(answers=("y", BUCKET)).destroy()
    assert buckets(aws) == []
    assert f"s3://{BUCKET} is deleted, with 3 versions of objects" in said
    assert stacks(aws) == []


def test_the_stacks_go_in_reverse_order_with_all_that_is_in_them(
    deployment: Deploy, dist: Path, aws: boto3.Session, said: list[str]
) -> None:
    """With an own VPC: moto's CloudFormation leaves route tables behind, with which no VPC can be deleted."""
    iam, subnets = aws.client("iam"), aws.client("ec2").describe_subnets()["Subnets"][:3]
    group = aws.client("ec2").create_security_group(GroupName="documentdb", Description="an own cluster")["GroupId"]
    own = {
        "VpcId": subnets[0]["VpcId"],
        "PrivateSubnets": ",".join(subnet["SubnetId"] for subnet in subnets),
        "DocumentDBSecret": "arn:aws:secretsmanager:us-east-1:123456789012:secret:album/connections/documentdb_default",
        "DocumentDBSecurityGroup": group,
    }
    aws.client("s3").put_bucket_versioning(Bucket=CODE, VersioningConfiguration={"Status": "Enabled"})
    deployment("alarms", "airflow", "notebook", **own).deploy(dist)
    assert len(iam.list_roles()["Roles"]) == 2
    del said[:]
    deployment(answers=("y", "")).destroy()
    gone = [line.split(":")[0] for line in said if line.endswith(": delete complete")]
    assert gone == [f"album-{part}" for part in ("notebook", "airflow", "alarms", "storage")]
    assert iam.list_roles()["Roles"] == []
    assert aws.client("sns").list_topics()["Topics"] == []
    assert buckets(aws) == [BUCKET]


@pytest.mark.parametrize("answer", ["", "y", "yes", CODE])
def test_anything_else_keeps_the_photos(deployment: Deploy, aws: boto3.Session, said: list[str], answer: str) -> None:
    deployment(answers=("y", answer)).destroy()
    assert buckets(aws) == [BUCKET]
    assert len(aws.client("s3").list_object_versions(Bucket=BUCKET)["Versions"]) == 2
    assert f"s3://{BUCKET} is kept" in said


def test_nothing_is_deleted_without_a_yes(deployment: Deploy, aws: boto3.Session) -> None:
    with pytest.raises(DeployError, match="Nothing was deleted"):
        deployment(answers=("n",)).destroy()
    assert set(buckets(aws)) == {BUCKET, CODE}


def test_a_protected_cluster_stops_it_before_anything_is_deleted(deployment: Deploy, aws: boto3.Session) -> None:
    aws.client("cloudformation").create_stack(
        StackName="album-documentdb",
        TemplateBody=json.dumps(
            {
                "Parameters": {"DeletionProtection": {"Type": "String", "Default": "true"}},
                "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
            }
        ),
        Parameters=[{"ParameterKey": "DeletionProtection", "ParameterValue": "true"}],
    )
    with pytest.raises(DeployError, match="The cluster is protected"):
        deployment().destroy()
    assert set(stacks(aws)) == {"album-storage", "album-documentdb"}
    aws.client("cloudformation").delete_stack(StackName="album-documentdb")


def test_where_there_is_nothing_nothing_is_asked(deployment: Deploy, said: list[str]) -> None:
    deployment(name="other").destroy()
    assert said[-1] == "There is no stack other-…"
