"""Fields of the containers API that take more than one spelling (SURFACE section 5)."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from containers import validation
from containers.services import PortWish


def checked(check: Any, value: Any) -> Any:
    """Run a check of `containers.validation`; its sentence becomes the field's error."""
    try:
        return check(value)
    except ValueError as error:
        raise serializers.ValidationError(str(error)) from None


@extend_schema_field(
    {
        "oneOf": [
            {"type": "integer"},
            {"type": "string"},
            {
                "type": "object",
                "properties": {"container": {"type": "integer"}, "host": {"type": "integer"}, "protocol": {"enum": ["tcp", "udp"]}},
                "required": ["container"],
            },
        ]
    }
)
class PortField(serializers.Field[PortWish, Any, Any, Any]):
    """`8080`, `"8080/udp"`, `"25566:8080/tcp"` or `{container, host?, protocol?}`."""

    default_error_messages = {
        "invalid": 'Write 8080, "8080/udp", "25566:8080" or an object with container, host and protocol; ports are 1-65535, protocols tcp and udp.'
    }

    def to_internal_value(self, data: Any) -> PortWish:
        host: Any = 0
        protocol: Any = "tcp"
        if isinstance(data, dict):
            if set(data) - {"container", "host", "protocol"}:
                self.fail("invalid")
            inside, host, protocol = data.get("container"), data.get("host") or 0, data.get("protocol") or "tcp"
        elif isinstance(data, str):
            ports, _, named = data.partition("/")
            outside, colon, last = ports.rpartition(":")
            inside, host, protocol = last, outside if colon else 0, named or "tcp"
        else:
            inside = data
        try:
            wish = PortWish(container=_port(inside), host=_port(host) if host not in (0, "0", "") else 0, protocol=str(protocol).lower())
        except ValueError:
            self.fail("invalid")
        if wish.protocol not in ("tcp", "udp"):
            self.fail("invalid")
        return wish

    def to_representation(self, value: Any) -> Any:
        return value


def _port(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError
    port = int(value)
    if not 1 <= port <= 65535:
        raise ValueError
    return port


@extend_schema_field({"oneOf": [{"type": "object", "additionalProperties": {"type": "string"}}, {"type": "array", "items": {"type": "string"}}]})
class EnvField(serializers.Field[dict[str, str], Any, Any, Any]):
    """A map, or a list of `K=V`."""

    def to_internal_value(self, data: Any) -> dict[str, str]:
        if isinstance(data, list):
            if not all(isinstance(item, str) for item in data):
                raise serializers.ValidationError("A list of texts of the form NAME=value.")
            data = checked(validation.env_from_list, data)
        if not isinstance(data, dict) or any(isinstance(v, dict | list) for v in data.values()):
            raise serializers.ValidationError("A map of names to values, or a list of NAME=value.")
        return checked(validation.check_env, data)  # type: ignore[no-any-return]

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
class CommandField(serializers.Field[list[str], Any, Any, Any]):
    """A list of texts, or one line."""

    def to_internal_value(self, data: Any) -> list[str]:
        return checked(validation.check_command, data)  # type: ignore[no-any-return]

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field({"oneOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]})
class ExecField(CommandField):
    """A line for the container's own shell, or a list: program and arguments, without a shell."""

    def to_internal_value(self, data: Any) -> list[str]:
        return checked(validation.check_exec, data)  # type: ignore[no-any-return]
