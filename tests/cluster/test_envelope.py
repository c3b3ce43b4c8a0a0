"""The parcel: the only way in which a password is serialised, and stars to everybody who looks at it."""

import logging
import pickle

import pytest
from distributed.core import error_message
from distributed.protocol import deserialize, serialize

from bulkreset.cluster.envelope import SecretEnvelope
from bulkreset.cluster.protocol import SendRows
from tests.send.fakes import row


def test_arrives_as_it_was_sent_through_dask() -> None:
    sent = SecretEnvelope.pack([SendRows((0, 0), [row(7)])])
    header, frames = serialize(sent)
    (batch,) = deserialize(header, [bytes(frame) for frame in frames]).unpack()
    assert batch.rows[0].number == 7
    assert batch.rows[0].password.reveal() == "Hidden-7"


def test_nothing_else_can_be_serialised_with_a_password() -> None:
    for content in (row(7), SendRows((0, 0), [row(7)])):
        with pytest.raises(TypeError, match="never serialised"):
            pickle.dumps(content)


def test_shows_stars_wherever_dask_shows_arguments(caplog: pytest.LogCaptureFixture) -> None:
    parcel = SecretEnvelope.pack([row(7)])
    told = error_message(ValueError(parcel, [parcel], {"parcel": parcel}))
    logging.getLogger().error("Compute Failed\nargs: %s\nkwargs: %r", (parcel,), {"parcel": parcel})
    assert "Hidden" not in f"{parcel} {parcel!r} {told['exception_text']} {caplog.text} {[parcel]}"
    assert "Hidden" in str(parcel._packed), "or this test would prove nothing"
