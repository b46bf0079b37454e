"""Tells people of trouble, by Amazon SNS. Nobody is told until the Airflow Variable names a topic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier, Variable
from asgiref.sync import sync_to_async

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

TOPIC = "image_labels_alarm_topic"
"""The Airflow Variable with the ARN of the topic."""


class TroubleNotifier(BaseNotifier):
    """Publish a message to the topic of the Variable ``image_labels_alarm_topic``; do nothing where there is none.

    Not the provider's ``SnsNotifier``: a DAG file that names it loads boto3 whenever it is read.

    :param subject: of the message (templated)
    :param message: what it says (templated)
    :param aws_conn_id: connection for SNS (templated)
    """

    template_fields: Sequence[str] = ("subject", "message", "aws_conn_id")

    def __init__(self, *, subject: str, message: str, aws_conn_id: str = "aws_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.subject = subject
        self.message = message
        self.aws_conn_id = aws_conn_id

    def notify(self, context: Context) -> None:
        """Publish the message, from the DAG processor."""
        from airflow.providers.amazon.aws.hooks.sns import SnsHook

        if topic := Variable.get(TOPIC, default=None):
            SnsHook(aws_conn_id=self.aws_conn_id).publish_to_target(topic, self.message, self.subject)
        else:
            self.log.info("The Variable %s is not set, so nobody is told: %s", TOPIC, self.message)

    async def async_notify(self, context: Context) -> None:
        """Publish the message, from the triggerer."""
        await sync_to_async(self.notify)(context)
