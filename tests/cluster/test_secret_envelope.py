"""The envelope: the only way to serialise a password, shown to everything else as asterisks."""

import logging
import pickle

import pytest
from distributed.core import error_message
from distributed.protocol import dumps, loads, to_serialize

from bulkreset.cluster.protocol import InvalidMessage, SendRows
from bulkreset.cluster.secret_envelope import FAMILY, SecretEnvelope, register_envelope
from bulkreset.models import Row
from tests.send.fakes import row


def test_arrives_as_it_was_sent_through_dask_and_nothing_is_pickled() -> None:
    register_envelope()
    sent = SecretEnvelope.pack([SendRows((0, 0), [row(7)])])
    frames = [bytes(frame) for frame in dumps({"envelope": to_serialize(sent)}, serializers=[FAMILY], on_error="raise")]
    assert b"pickle" not in b"".join(frames)
    (batch,) = loads(frames, deserializers=[FAMILY])["envelope"].unpack()
    assert isinstance(batch, SendRows)
    (arrived,) = batch.rows
    assert isinstance(arrived, Row)
    assert arrived.number == 7
    assert arrived.password.reveal() == "Hidden-7"


@pytest.mark.parametrize(
    "packed", [b"", b"nonsense", b'[{"order": "destroy"}]', b'[{"order": "send", "lane": [0, 0]}]']
)
def test_invalid_orders_are_refused_without_their_content(packed: bytes) -> None:
    with pytest.raises(InvalidMessage) as caught:
        SecretEnvelope(packed).unpack()
    assert "destroy" not in str(caught.value)


def test_no_other_type_can_be_serialised_with_a_password() -> None:
    for content in (row(7), SendRows((0, 0), [row(7)])):
        with pytest.raises(TypeError, match="never serialised"):
            pickle.dumps(content)


def test_dask_shows_arguments_as_asterisks(caplog: pytest.LogCaptureFixture) -> None:
    envelope = SecretEnvelope.pack([SendRows((0, 0), [row(7)])])
    told = error_message(ValueError(envelope, [envelope], {"envelope": envelope}))
    logging.getLogger().error("Compute Failed\nargs: %s\nkwargs: %r", (envelope,), {"envelope": envelope})
    assert "Hidden" not in f"{envelope} {envelope!r} {told['exception_text']} {caplog.text} {[envelope]}"
    assert "Hidden" in str(envelope._packed), "or this test would prove nothing"
