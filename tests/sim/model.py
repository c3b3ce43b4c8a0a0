"""Compare requests and answers with the API's own model, as botocore ships it: names, types, bounds and enums."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

import botocore.session
from botocore.model import OperationModel, Shape
from botocore.validate import ParamValidator

from tests.sim.errors import Code

_SERVICES: Final = ("cognito-idp", "service-quotas")
# Errors that any call can get, and that no operation lists.
_EVERYWHERE: Final = frozenset(
    {
        *(Code.ACCESS_DENIED, Code.EXPIRED, Code.INVALID_SIGNATURE, Code.SERIALIZATION),
        *(Code.UNKNOWN_OPERATION, Code.UNRECOGNIZED_CLIENT, Code.TOO_MANY_REQUESTS),
    }
)


@cache
def operation_model(operation: str) -> OperationModel | None:
    """Return the model of an operation of Cognito or Service Quotas; None for any other."""
    session = botocore.session.get_session()
    for service in _SERVICES:
        model = session.get_service_model(service)
        if operation in model.operation_names:
            return model.operation_model(operation)
    return None


def request_faults(operation: str, params: Mapping[str, Any]) -> list[str]:
    """Return what the model does not allow in a request, and what is missing."""
    model = operation_model(operation)
    if model is None:
        return [f"{operation}: the model has no such operation"]
    return [f"{operation} request: {fault}" for fault in _faults(params, model.input_shape)]


def answer_faults(operation: str, answer: Mapping[str, Any]) -> list[str]:
    """Return what the model does not allow in an answer."""
    model = operation_model(operation)
    if model is None:
        return [f"{operation}: the model has no such operation"]
    return [f"{operation} answer: {fault}" for fault in _faults(answer, model.output_shape)]


def error_faults(operation: str, code: str) -> list[str]:
    """Return the error code, if the model does not list it for its operation."""
    model = operation_model(operation)
    if model is None or code in _EVERYWHERE or code in {shape.name for shape in model.error_shapes}:
        return []
    return [f"{operation} error: {code}"]


def _faults(value: Mapping[str, Any], shape: Shape | None) -> Iterator[str]:
    if shape is None:
        yield from (f"unknown parameter {name}" for name in value)
        return
    report = ParamValidator().validate(value, shape)
    if report.has_errors():
        yield report.generate_report()
    else:  # botocore's own validator ignores enums and the upper bounds of strings and lists
        yield from _bounds(value, shape, "")


def _bounds(value: Any, shape: Any, path: str) -> Iterator[str]:  # noqa: ANN401  (JSON, and any shape)
    most = shape.metadata.get("max")
    if shape.type_name == "structure":
        for name, one in value.items():
            yield from _bounds(one, shape.members[name], f"{path}.{name}")
    elif shape.type_name == "list":
        if most is not None and len(value) > most:
            yield f"{path} has {len(value)} of {most}"
        for one in value:
            yield from _bounds(one, shape.member, path)
    elif shape.type_name == "string":
        if shape.enum and value not in shape.enum:
            yield f"{path} is none of its enum"
        if most is not None and len(value) > most:
            yield f"{path} is longer than {most}"
