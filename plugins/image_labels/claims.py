"""Who asks about which content: the batches of a run are in work at the same time, and each content is paid for once.

A batch that means to ask about a content puts down a claim first. A content that another batch has claimed is left to
it, and what it was answered is taken from its results. The budget is kept in the same place, so that no batch has to
wait for another to know what is left of it; it is never exceeded, but two batches that reach for the same content in
the same moment may leave a call of it to the next run. Once a run is closed, the documents tell what has been
answered, and its claims are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isinf
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection as Contents

    from pymongo.collection import Collection


@dataclass(frozen=True)
class Budget:
    """What a run may cost.

    :param max_images: calls of Rekognition at most; None for as many as there are
    :param max_spend_usd: US dollars at most; None for as many as it takes
    :param price_per_thousand: US dollars for a thousand calls

    .. seealso:: https://aws.amazon.com/rekognition/pricing/
    """

    max_images: float | None = None
    max_spend_usd: float | None = None
    price_per_thousand: float = 1.0

    @property
    def calls(self) -> float:
        """Calls that the run may make; infinity where nothing limits them."""
        by_money = inf
        if self.max_spend_usd is not None and self.price_per_thousand:
            # To the millionth, so that 0.003 dollars at 1 dollar a thousand are 3 calls and not 2.
            by_money = round(self.max_spend_usd * 1000 / self.price_per_thousand, 6) // 1
        return min(by_money, inf if self.max_images is None else self.max_images)


@dataclass(frozen=True)
class Claims:
    """The claims of one batch.

    :param collection: of all claims
    :param run_id: of the DAG run
    :param batch: number of the batch in the run
    :param budget: of the run
    :param scope: put before the contents; claims of different scopes don't meet
    """

    collection: Collection[dict[str, Any]]
    run_id: str
    batch: int
    budget: Budget
    scope: str

    def release(self) -> bool:
        """Give back what an earlier try of the batch has claimed, and tell whether there was any."""
        released = self.collection.delete_many({"run": self.run_id, "batch": self.batch}).deleted_count
        entry = self.collection.find_one(self._purse) or {}
        self._spend(-entry.get(self._share, 0))
        return released > 0

    def take(self, contents: Contents[str]) -> dict[str, int]:
        """Claim contents, the first ones first, as far as the budget goes.

        :param contents: SHA-256 of the images, in hex, each once
        :returns: the batch that asks about each; a content for which nothing is left of the budget is missing
        """
        from pymongo.errors import BulkWriteError

        from image_labels.documents import those_already_there

        wanted = {f"{self.scope}:{content}": content for content in contents}
        # What another run has left behind: sensing has stored its answers, so what is not answered is not asked.
        self.collection.delete_many({"_id": {"$in": list(wanted)}, "run": {"$ne": self.run_id}})
        owners = self._owners(wanted)
        free = [key for key in wanted if key not in owners]
        free = free[: self._grant(len(free))]
        claims = [{"_id": key, "run": self.run_id, "batch": self.batch} for key in free]
        try:
            if claims:
                self.collection.insert_many(claims, ordered=False)
        except BulkWriteError as error:
            # Another batch was faster with some of them.
            self._spend(-len(those_already_there(error)))
        owners = self._owners(wanted)
        return {content: owners[key] for key, content in wanted.items() if key in owners}

    def _owners(self, wanted: dict[str, str]) -> dict[str, int]:
        found = self.collection.find({"_id": {"$in": list(wanted)}, "run": self.run_id})
        return {claim["_id"]: claim["batch"] for claim in found}

    def _grant(self, calls: int) -> int:
        """Take calls from the budget and return how many of them it had."""
        if isinf(self.budget.calls):
            return calls
        missing = min(calls, max(0, self._spend(calls) - int(self.budget.calls)))
        if missing:
            self._spend(-missing)
        return calls - missing

    def _spend(self, calls: int) -> int:
        """Put calls down to this batch and return those of the whole run."""
        from pymongo import ReturnDocument

        if not calls:
            return 0
        change = {"$inc": {"spent": calls, self._share: calls}}
        entry = self.collection.find_one_and_update(
            self._purse, change, upsert=True, return_document=ReturnDocument.AFTER
        )
        return int((entry or {})["spent"])

    @property
    def _purse(self) -> dict[str, str]:
        return purse(self.run_id)

    @property
    def _share(self) -> str:
        return f"batch-{self.batch}"


def purse(run_id: str) -> dict[str, str]:
    """Return the filter for what a run has spent of its budget."""
    return {"_id": f"budget:{run_id}"}


def drop(collection: Collection[dict[str, Any]], run_id: str, *, purse_too: bool = False) -> None:
    """Drop all claims of a run.

    :param purse_too: also what it has spent, so that it starts anew
    """
    collection.delete_many({"run": run_id})
    if purse_too:
        collection.delete_one(purse(run_id))
