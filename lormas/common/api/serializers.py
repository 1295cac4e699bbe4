"""Strict serializers: a field that nobody declared is refused, so that a typo is never silently ignored (D13)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import UTC
from typing import Any, ClassVar, TypeVar

from django.db import models
from rest_framework import serializers

M = TypeVar("M", bound=models.Model)


class _Strict(serializers.Serializer[Any]):
    """Unknown fields are 400 `unknown_field`; declared read-only fields are ignored, so that what was read can be sent back."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            unknown = sorted(str(key) for key in data if key not in self.fields)
            if unknown:
                message = f"There is no such field here; there are: {', '.join(name for name, field in self.fields.items() if not field.read_only)}."
                raise serializers.ValidationError({name[:128]: [message] for name in unknown[:20]}, code="unknown_field")
            # DRF would write numbers out; a client that sends 1.0 for a tag means something else than "1.0".
            numbers = [name for name, value in data.items() if type(value) in (int, float) and isinstance(self.fields[name], serializers.CharField)]
            if numbers:
                wrong: dict[str, Any] = {name: ["Not a valid string."] for name in numbers}
                try:
                    super().to_internal_value({name: value for name, value in data.items() if name not in numbers})
                except serializers.ValidationError as error:
                    wrong = {**(error.detail if isinstance(error.detail, dict) else {}), **wrong}
                raise serializers.ValidationError(wrong, code="invalid")
        return super().to_internal_value(data)


class StrictSerializer(_Strict):
    """For bodies and answers that are no model."""


class TimeField(serializers.DateTimeField):
    """RFC 3339 in UTC with `Z`, whatever time zone is active."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"default_timezone": UTC, **kwargs})


class ModelSerializer(serializers.ModelSerializer[M]):
    """DRF's, but what it makes of the model's columns is made once for a class. DRF does it for each answer, which is a third of the time that the
    answer takes; copies are what it makes of declared fields, too."""

    _made: ClassVar[dict[type, dict[str, Any]]] = {}

    def get_fields(self) -> dict[str, Any]:
        """Own copies, each of which may be bound to its parent."""
        found = self._made.get(type(self))
        if found is None:
            found = self._made[type(self)] = super().get_fields()
        return copy.deepcopy(found)


class StrictModelSerializer(_Strict, ModelSerializer[Any]):
    """For models."""

    serializer_field_mapping = {**serializers.ModelSerializer.serializer_field_mapping, models.DateTimeField: TimeField}


class FieldErrorSerializer(StrictSerializer):
    """One wrong field."""

    field = serializers.CharField(allow_blank=True, help_text="Path of the field, such as `ports.0.host`; empty for the whole body.")
    message = serializers.CharField()
    code = serializers.CharField()


class ProblemSerializer(StrictSerializer):
    """RFC 9457. Some problems carry further members, such as `operation` or `retry_after`."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(allow_blank=True)
    code = serializers.CharField()
    errors = FieldErrorSerializer(many=True)  # type: ignore[assignment]  # the metaclass takes it out of the class
    request_id = serializers.CharField(allow_blank=True)
