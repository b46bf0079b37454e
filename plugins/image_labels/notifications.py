"""Tells people of trouble, by Amazon SNS. Nobody is told until the Airflow Variable names a topic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.notifications.sns import SnsNotifier
from airflow.sdk import Variable
from asgiref.sync import sync_to_async

if TYPE_CHECKING:
    from airflow.sdk import Context

TOPIC = "image_labels_alarm_topic"
"""The Airflow Variable with the ARN of the topic."""


class TroubleNotifier(SnsNotifier):
    """Publish a message to the topic of the Variable ``image_labels_alarm_topic``; do nothing where there is none.

    :param message: the message (templated)

    Additional arguments (such as ``subject``) are passed to the underlying notifier.
    """

    def __init__(self, *, message: str, **kwargs: Any) -> None:
        super().__init__(target_arn="", message=message, **kwargs)

    def notify(self, context: Context) -> None:
        """Publish the message, from the DAG processor."""
        if topic := Variable.get(TOPIC, default=None):
            self.target_arn = topic
            super().notify(context)  # type: ignore[no-untyped-call]
        else:
            self.log.info("The Variable %s is not set, so nobody is told: %s", TOPIC, self.message)

    async def async_notify(self, context: Context) -> None:
        """Publish the message, from the triggerer."""
        await sync_to_async(self.notify)(context)
