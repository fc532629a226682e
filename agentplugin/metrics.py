"""Falcon metric lists: what of a plugin's stdout really arrives, by the rules of the Open-Falcon
agent's JSON reader (falconjson) and of transfer (transferrules), each loss with its reason.

A whole batch is lost where Go's decoder returns an error, because the agent then sends nothing:

    no-output, blank-output, byte-order-mark, text-before-list, text-after-list, not-json,
    nan-literal, not-a-list, nested-too-deep, number-out-of-range, item-not-an-object, field-type,
    field-not-integer

One value is lost where transfer drops it, and it does not say which:

    null-item, metric-missing, metric-forbidden, endpoint-missing, step-missing, step-negative,
    counter-type-missing, counter-type-unknown, value-missing, value-type, value-not-a-number,
    value-not-finite, too-long

Something arrives, but maybe not what was meant:

    empty-list, duplicate-key, unknown-key, not-utf8, value-is-text, tags-malformed,
    timestamp-missing, timestamp-replaced, filled, more-problems
"""

from __future__ import annotations

from agentplugin import falconjson
from agentplugin.batches import Batch, Defaults, ItemProblem, Metric
from agentplugin.problems import WARNING
from agentplugin.transferrules import COUNTER_TYPES, MAX_NAME_AND_TAGS, Transfer

__all__ = [
    "COUNTER_TYPES",
    "MAX_NAME_AND_TAGS",
    "Batch",
    "Defaults",
    "ItemProblem",
    "Metric",
    "parse_batch",
]


def parse_batch(stdout: bytes | str, *, now: float, defaults: Defaults | None = None) -> Batch:
    """Reads a plugin's whole stdout. Never raises, whatever the bytes.

    now       epoch seconds, put where transfer would put its own clock
    defaults  None: strictly as with a real agent, where a missing endpoint, step or counterType
              loses the value. Given: these are filled in (counterType GAUGE), counted in
              Batch.filled and said once as "filled".
    """
    batch = Batch()
    items = falconjson.decode(stdout, batch.say)
    if items is None:
        batch.lost = True
    else:
        Transfer(batch, int(now), defaults).take(items)
    if batch.unsaid:
        batch.problems.append(
            ItemProblem(
                None,
                WARNING,
                "more-problems",
                f"{batch.unsaid} more problems of the same batch are not listed",
                "mend the listed ones first",
                None,
            )
        )
    return batch
