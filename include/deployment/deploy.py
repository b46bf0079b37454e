"""Makes, changes and removes the stacks of ``include/cloudformation/``, and brings the package to Airflow.

What will change is shown first and asked about. What a stack puts out is handed to those after it that have a
parameter of that name; the settings go before it.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from package import PROJECT

TEMPLATES = PROJECT / "include/cloudformation"
PARTS = ("network", "storage", "documentdb", "rotation", "alarms", "airflow", "notebook")
NEED_THE_PACKAGE = ("airflow", "notebook")
CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]

REPLACED = {"True": ", REPLACED", "Conditional": ", perhaps replaced"}


class DeployError(Exception):
    """It cannot go on; the message says why and what to do."""


@dataclass
class Deployment:
    """The stacks of one name in one account and region.

    :param parts: those wanted
    :param parameters: what the settings say, by the names of the templates' parameters
    :param ask: asks a person and returns the answer
    :param say: tells a person
    :param poll_seconds: between two looks at a stack
    """

    session: boto3.Session
    name: str
    parts: list[str]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    ask: Callable[[str], str] = input
    say: Callable[[str], None] = print
    poll_seconds: float = 10

    def __post_init__(self) -> None:
        if unknown := set(self.parts) - set(PARTS):
            raise DeployError(f"There is no part {sorted(unknown)[0]!r}; there are {', '.join(PARTS)}")
        self.cloudformation = self.session.client("cloudformation")
        self.s3 = self.session.client("s3")

    def stack(self, part: str) -> str:
        """Return the name of a part's stack."""
        return f"{self.name}-{part}"

    def describe(self, part: str) -> dict[str, Any] | None:
        """Return what CloudFormation knows of a part's stack; None if there is none."""
        try:
            found: dict[str, Any] = self.cloudformation.describe_stacks(StackName=self.stack(part))["Stacks"][0]
        except ClientError as error:
            if "does not exist" in str(error):
                return None
            raise
        return found

    def takes(self, part: str) -> dict[str, bool]:
        """Return the names of a template's parameters, and whether each has a default."""
        summary = self.cloudformation.get_template_summary(TemplateBody=template(part))
        return {parameter["ParameterKey"]: "DefaultValue" in parameter for parameter in summary["Parameters"]}

    def outputs(self, part: str) -> dict[str, str]:
        """Return what a part's stack puts out; nothing if there is none."""
        found = (self.describe(part) or {}).get("Outputs", ())
        return {output["OutputKey"]: output["OutputValue"] for output in found}

    # --- make and change ---

    def deploy(self, dist: Path) -> None:
        """Make or change the stacks.

        :param dist: folder of the package
        :raises DeployError: if a person says no, or a stack fails
        """
        if unknown := set(self.parameters) - {name for part in PARTS for name in self.takes(part)}:
            raise DeployError(f"No template has a parameter {sorted(unknown)[0]!r}")
        known: dict[str, str] = {"Name": self.name}
        for part in PARTS:
            if part in self.parts:
                if part in NEED_THE_PACKAGE and "PluginsVersion" not in known:
                    known |= self.upload(dist, known)
                self._deploy_part(part, known | {name: str(value) for name, value in self.parameters.items()})
            # A part that is left out this time may have been made before.
            known |= self.outputs(part)
        for output in ("Landing", "AirflowURL", "NotebookConsole"):
            if output in known:
                self.say(f"{output}: {known[output]}")

    def _deploy_part(self, part: str, known: Mapping[str, str]) -> None:
        wanted = self.takes(part)
        if missing := [name for name, has_default in wanted.items() if not has_default and name not in known]:
            raise DeployError(f"{part} needs {', '.join(missing)}: set it in the settings, or put in the part with it")
        stack = self.describe(part)
        fresh = stack is None or stack["StackStatus"] == "REVIEW_IN_PROGRESS"
        change_set = f"change-{int(time.time())}"
        place = {"StackName": self.stack(part), "ChangeSetName": change_set}
        self.cloudformation.create_change_set(
            **place,
            ChangeSetType="CREATE" if fresh else "UPDATE",
            TemplateBody=template(part),
            Parameters=[
                {"ParameterKey": name, "ParameterValue": known[name]} for name in sorted(wanted) if name in known
            ],
            Capabilities=CAPABILITIES,
        )
        changes = self._changes(place)
        if changes is None:
            self.say(f"{self.stack(part)}: nothing changes")
            self.cloudformation.delete_change_set(**place)
            return
        self.say(f"{self.stack(part)} will be {'made' if fresh else 'changed'}:")
        for change in changes:
            replaced = {"True": ", REPLACED", "Conditional": ", perhaps replaced"}.get(
                change.get("Replacement", ""), ""
            )
            self.say(f"  {change['Action']:<7} {change['LogicalResourceId']} ({change['ResourceType']}{replaced})")
        if self.ask(f"Go on with {self.stack(part)}? [y/N] ").strip().lower() not in ("y", "yes"):
            self.cloudformation.delete_change_set(**place)
            raise DeployError("Nothing further was changed")
        self.cloudformation.execute_change_set(**place)
        self._wait(part, ("CREATE_COMPLETE", "UPDATE_COMPLETE"))

    def _changes(self, place: Mapping[str, str]) -> list[dict[str, Any]] | None:
        """Return the changes of resources, once CloudFormation has worked them out; None if nothing at all changes."""
        while True:
            found = self.cloudformation.describe_change_set(**place)
            if found["Status"] == "FAILED":
                reason = str(found.get("StatusReason", "")).lower()
                if "didn't contain changes" in reason or "no updates" in reason:
                    return None
                raise DeployError(f"{place['StackName']}: {found.get('StatusReason')}")
            if found["Status"] not in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
                break
            time.sleep(self.poll_seconds)
        changes = [change["ResourceChange"] for change in found["Changes"]]
        while "NextToken" in found:
            found = self.cloudformation.describe_change_set(**place, NextToken=found["NextToken"])
            changes += [change["ResourceChange"] for change in found["Changes"]]
        return changes

    def _wait(self, part: str, good: tuple[str, ...]) -> None:
        """Wait until a stack has come to rest.

        :raises DeployError: if that is not where it should have come to
        """
        stack_id = self.describe(part) or {}
        while True:
            stack = self.describe(part)
            status = stack["StackStatus"] if stack else "DELETE_COMPLETE"
            if not status.endswith("_IN_PROGRESS"):
                break
            time.sleep(self.poll_seconds)
        if status not in good:
            events = self.cloudformation.describe_stack_events(StackName=stack_id["StackId"])["StackEvents"]
            reasons = [
                f"\n  {event['LogicalResourceId']}: {event['ResourceStatusReason']}"
                for event in reversed(events)
                if event["ResourceStatus"].endswith("FAILED") and event.get("ResourceStatusReason")
            ]
            raise DeployError(f"{self.stack(part)} is {status}{''.join(reasons[:5])}")
        self.say(f"{self.stack(part)}: {status.lower().replace('_', ' ')}")

    def upload(self, dist: Path, known: Mapping[str, str]) -> dict[str, str]:
        """Bring the package into the bucket that Airflow reads, and return the versions of what has versions.

        :raises DeployError: if there is no package, or no bucket for it
        """
        bucket = self.parameters.get("CodeBucket", known.get("CodeBucket"))
        if not bucket:
            raise DeployError("There is no bucket for the package: put in the part storage, or set CodeBucket")
        if not (dist / "plugins.zip").exists():
            raise DeployError(f"There is no package in {dist}: `make package` makes it")
        files = sorted(file for file in dist.rglob("*") if file.is_file())
        versions = {file.name: self._put(bucket, file.relative_to(dist).as_posix(), file) for file in files}
        there = {file.relative_to(dist).as_posix() for file in files}
        for folder in ("dags/", "notebooks/"):
            for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=folder):
                for item in page.get("Contents", ()):
                    if item["Key"] not in there:
                        self.s3.delete_object(Bucket=bucket, Key=item["Key"])
        self.say(f"The package is in s3://{bucket}")
        return {"PluginsVersion": versions["plugins.zip"], "RequirementsVersion": versions["requirements.txt"]}

    def _put(self, bucket: str, key: str, file: Path) -> str:
        """Put a file unless it is there already, and return its version."""
        content = file.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        try:
            there = self.s3.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("404", "NoSuchKey"):
                raise
        else:
            if there["Metadata"].get("sha256") == sha256:
                return str(there["VersionId"])
        put = self.s3.put_object(Bucket=bucket, Key=key, Body=content, Metadata={"sha256": sha256})
        return str(put["VersionId"])

    # --- remove ---

    def destroy(self) -> None:
        """Remove all stacks of the name, and the buckets if their owner says the name of the pipeline's.

        :raises DeployError: if the cluster is protected, or a stack can't be deleted
        """
        existing = [part for part in reversed(PARTS) if self.describe(part)]
        if not existing:
            self.say(f"There is no stack {self.stack('…')}")
            return
        self._check_protection(existing)
        buckets = self.outputs("storage")
        self.say("To be deleted: " + ", ".join(map(self.stack, existing)))
        if self.ask("Delete them? [y/N] ").strip().lower() not in ("y", "yes"):
            raise DeployError("Nothing was deleted")
        for part in existing:
            self.cloudformation.delete_stack(StackName=self.stack(part))
            self._wait(part, ("DELETE_COMPLETE",))
        if "documentdb" in existing:
            self.say("Of the cluster a last snapshot is left, in DocumentDB under Snapshots")
        if "storage" in existing:
            self._remove_buckets(buckets)
            self.say(f"The key {buckets.get('KeyArn')} is left: snapshots and logs can't be read without it")

    def _check_protection(self, existing: list[str]) -> None:
        if "documentdb" not in existing:
            return
        protected = {
            parameter["ParameterKey"]: parameter["ParameterValue"]
            for parameter in (self.describe("documentdb") or {}).get("Parameters", ())
        }
        if protected.get("DeletionProtection") == "true":
            raise DeployError(
                'The cluster is protected: set DeletionProtection = "false" in the settings, `make deploy`, then again'
            )

    def _remove_buckets(self, buckets: Mapping[str, str]) -> None:
        bucket = buckets["Bucket"]
        said = self.ask(
            f"s3://{bucket} still has all photos, answers and reports. To delete them with all their versions, "
            "type the bucket's name; anything else keeps them: "
        )
        # What is in the other one is made by `make package`.
        for name in [buckets["CodeBucket"], *([bucket] if said.strip() == bucket else [])]:
            objects = self.empty(name)
            self.s3.delete_bucket(Bucket=name)
            self.say(f"s3://{name} is deleted, with {objects} versions of objects")
        if said.strip() != bucket:
            self.say(f"s3://{bucket} is kept")

    def empty(self, bucket: str) -> int:
        """Delete all versions of all objects of a bucket, and return how many there were."""
        count = 0
        for page in self.s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            if not found:
                continue
            keys = [{"Key": item["Key"], "VersionId": item["VersionId"]} for item in found]
            if errors := self.s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True}).get("Errors"):
                raise DeployError(f"s3://{bucket}/{errors[0]['Key']} can't be deleted: {errors[0].get('Message')}")
            count += len(keys)
        return count


def template(part: str) -> str:
    """Return a part's template."""
    return (TEMPLATES / f"{part}.yaml").read_text()


def main() -> None:
    """Deploy or destroy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("deploy", "destroy"))
    parser.add_argument("--settings", type=Path, default=TEMPLATES / "settings.toml")
    parser.add_argument("--dist", type=Path, default=PROJECT / "dist")
    options = parser.parse_args()
    try:
        settings = tomllib.loads(options.settings.read_text())
        deployment = Deployment(boto3.Session(), settings["name"], settings["parts"], settings.get("parameters", {}))
        if options.action == "deploy":
            deployment.deploy(options.dist)
        else:
            deployment.destroy()
    except DeployError as error:
        sys.exit(str(error))
    except (ClientError, BotoCoreError) as error:
        sys.exit(f"AWS says: {error}")
    except KeyError as error:
        sys.exit(f"{options.settings} has no {error}")
    except OSError as error:
        sys.exit(f"{options.settings}: {error.strerror}")


if __name__ == "__main__":
    main()
