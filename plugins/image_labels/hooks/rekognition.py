"""Amazon Rekognition."""

from __future__ import annotations

from typing import Any

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook


class RekognitionHook(AwsBaseHook):
    """Interact with Amazon Rekognition, one attempt a call.

    botocore's retries would not keep to the shared rate, so they are off: who calls decides about trying again.

    :param connections: how many calls may be under way at once

    Additional arguments (such as ``aws_conn_id``) are passed to the underlying hook.

    .. seealso:: https://docs.aws.amazon.com/rekognition/latest/APIReference/API_DetectLabels.html
    """

    def __init__(self, *, connections: int = 10, **kwargs: Any) -> None:
        from botocore.config import Config

        config = Config(
            retries={"total_max_attempts": 1},
            max_pool_connections=connections,
            connect_timeout=5,
            read_timeout=30,
        )
        super().__init__(client_type="rekognition", config=config, **kwargs)
