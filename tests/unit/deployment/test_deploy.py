"""The stacks are made and removed in an AWS that moto plays.

moto's CloudFormation does not know DocumentDB, MWAA, SageMaker, secrets, alarms and bucket policies: of those it is
tested what is asked for (test_templates.py), not that AWS makes it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy import DeployError

if TYPE_CHECKING:
    import boto3

    from conftest import Deploy

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")

BUCKET = "album-123456789012-us-east-1"
CODE = "album-code-123456789012-us-east-1"
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:album/connections/documentdb_default-x"


@pytest.fixture(scope="module")
def cluster(aws: boto3.Session) -> dict[str, str]:
    """The settings for an own cluster."""
    group = aws.client("ec2").create_security_group(GroupName="documentdb", Description="an own cluster")
    return {"DocumentDBSecret": SECRET, "DocumentDBSecurityGroup": group["GroupId"]}


@pytest.fixture(scope="module")
def made(deployment: Deploy, dist: Path, aws: boto3.Session, cluster: dict[str, str]) -> None:
    """All parts that moto knows something of, with an own cluster."""
    deployment("network", "storage", "alarms").deploy(dist)
    for bucket in (BUCKET, CODE):
        aws.client("s3").put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    deployment("airflow", "notebook", **cluster).deploy(dist)


@pytest.mark.usefixtures("made")
def test_what_will_change_is_shown_before_it_is_asked_about(said: list[str]) -> None:
    assert said.index("album-network will be made:") < said.index("  Add     Vpc (AWS::EC2::VPC)")
    assert said.index("  Add     Vpc (AWS::EC2::VPC)") < said.index("Go on with album-network? [y/N] ")
    assert said.index("Go on with album-network? [y/N] ") < said.index("album-network: create complete")
    assert "Landing: s3://album-123456789012-us-east-1/landing" in said


@pytest.mark.usefixtures("made")
def test_the_network_is_there(aws: boto3.Session) -> None:
    ec2 = aws.client("ec2")
    subnets = [s for s in ec2.describe_subnets()["Subnets"] if s["CidrBlock"].startswith("10.20.")]
    assert len(subnets) == 4
    assert len({subnet["AvailabilityZone"] for subnet in subnets}) == 3
    assert [endpoint["ServiceName"] for endpoint in ec2.describe_vpc_endpoints()["VpcEndpoints"]] == [
        "com.amazonaws.us-east-1.s3"
    ]
    assert len(ec2.describe_nat_gateways()["NatGateways"]) == 1


@pytest.mark.usefixtures("made")
def test_the_role_may_do_what_the_pipeline_does_and_no_more(aws: boto3.Session) -> None:
    iam = aws.client("iam")
    [policy] = [p for p in iam.list_policies(Scope="Local")["Policies"] if "PipelinePolicy" in p["PolicyName"]]
    version = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"])["PolicyVersion"]
    document = version["Document"]
    statements = (json.loads(document) if isinstance(document, str) else document)["Statement"]
    actions = {
        statement["Sid"]: (statement["Action"], statement["Resource"]) for statement in statements if "Sid" in statement
    }
    objects = f"arn:aws:s3:::{BUCKET}/image-labels/*"
    assert actions["AskRekognition"] == ("rekognition:DetectLabels", "*")
    assert actions["KeepPhotosAnswersAndReports"] == (["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], objects)
    assert actions["ReadNewPhotos"] == ("s3:GetObject", f"arn:aws:s3:::{BUCKET}/landing/*")
    assert [arn for arn in actions["List"][1] if arn] == [f"arn:aws:s3:::{BUCKET}"]
    assert actions["TellOfTrouble"] == ("sns:Publish", "arn:aws:sns:us-east-1:123456789012:album-alarms")


@pytest.mark.usefixtures("made")
def test_the_package_is_where_airflow_and_the_notebook_read_it(aws: boto3.Session, dist: Path) -> None:
    keys = {item["Key"] for item in aws.client("s3").list_objects_v2(Bucket=CODE)["Contents"]}
    assert keys == {file.relative_to(dist).as_posix() for file in dist.rglob("*") if file.is_file()}
    assert {"dags/image_labels_daily.py", "dags/constraints.txt", "plugins.zip", "requirements.txt"} <= keys


@pytest.mark.usefixtures("made")
def test_a_second_time_nothing_changes(
    deployment: Deploy, dist: Path, said: list[str], aws: boto3.Session, cluster: dict[str, str]
) -> None:
    versions = aws.client("s3").list_object_versions(Bucket=CODE)["Versions"]
    del said[:]
    deployment("airflow", "notebook", **cluster).deploy(dist)
    assert {"album-airflow: nothing changes", "album-notebook: nothing changes"} <= set(said)
    assert aws.client("s3").list_object_versions(Bucket=CODE)["Versions"] == versions


@pytest.mark.usefixtures("made")
def test_a_dag_that_is_gone_from_the_package_goes_from_the_bucket(
    deployment: Deploy, dist: Path, tmp_path: Path, aws: boto3.Session, cluster: dict[str, str]
) -> None:
    newer = shutil.copytree(dist, tmp_path / "dist")
    (newer / "dags/image_labels_rebuild.py").unlink()
    deployment("airflow", **cluster).deploy(newer)
    keys = [item["Key"] for item in aws.client("s3").list_objects_v2(Bucket=CODE, Prefix="dags/")["Contents"]]
    assert "dags/image_labels_daily.py" in keys
    assert "dags/image_labels_rebuild.py" not in keys


def test_no_is_no(deployment: Deploy, dist: Path, aws: boto3.Session) -> None:
    with pytest.raises(DeployError, match="Nothing further was changed"):
        deployment("network", name="other", answers=("",)).deploy(dist)
    assert aws.client("cloudformation").describe_stack_resources(StackName="other-network")["StackResources"] == []


@pytest.mark.parametrize(
    ("parts", "parameters", "message"),
    [
        (["storage", "cloud"], {}, "There is no part 'cloud'"),
        (["storage"], {"InstanceKlass": "x"}, "No template has a parameter 'InstanceKlass'"),
        (["documentdb"], {}, "documentdb needs VpcId, PrivateSubnets, KeyArn"),
        (["airflow"], {}, "There is no bucket for the package"),
    ],
    ids=["part", "parameter", "missing", "bucket"],
)
def test_a_wrong_setting_is_named(
    deployment: Deploy, dist: Path, parts: list[str], parameters: dict[str, str], message: str
) -> None:
    with pytest.raises(DeployError, match=message):
        deployment(*parts, name="other", **parameters).deploy(dist)


def test_a_missing_package_is_said(deployment: Deploy, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="`make package` makes it"):
        deployment("airflow", name="other", CodeBucket="code").deploy(tmp_path)
