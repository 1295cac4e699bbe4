"""Shapes of the eggs API. What a variable hides from people is shown to those who manage eggs only (I01)."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from eggs.definition import EggDefinition
from eggs.models import Egg, EggVersion
from eggs.rendering import MAX_VALUE_BYTES
from lormas.common.api.serializers import StrictModelSerializer, StrictSerializer


class WarningSerializer(StrictSerializer):
    """Something repaired or ignored."""

    code = serializers.CharField(read_only=True)
    message = serializers.CharField(read_only=True)


class PrivilegeSerializer(StrictSerializer):
    """Something of the machine that the egg asks for."""

    kind = serializers.CharField(read_only=True, help_text="bind, device, capability, privileged, host_network or administrator_only.")
    value = serializers.CharField(read_only=True, allow_blank=True)


class VersionSerializer(StrictModelSerializer):
    """One state of an egg."""

    warnings = WarningSerializer(many=True, read_only=True)
    privileges = PrivilegeSerializer(many=True, read_only=True)
    needs_approval = serializers.BooleanField(read_only=True, help_text="No container can be made of it before an administrator approves.")

    class Meta:
        model = EggVersion
        fields = ["id", "number", "source_format", "digest", "warnings", "privileges", "needs_approval", "approved_at", "created_at"]
        read_only_fields = fields


class EggSerializer(StrictModelSerializer):
    """An egg in a list."""

    tags = serializers.ListField(child=serializers.CharField(), read_only=True)
    version = serializers.IntegerField(source="current.number", read_only=True, allow_null=True)

    class Meta:
        model = Egg
        fields = ["id", "uuid", "name", "author", "description", "category", "tags", "icon", "is_bundled", "version", "created_at", "updated_at"]
        read_only_fields = fields


class ImageChoiceSerializer(StrictSerializer):
    """A labelled image; the first is the default."""

    label = serializers.CharField(read_only=True)  # type: ignore[assignment]  # the metaclass takes it out of the class
    image = serializers.CharField(read_only=True)


class StartupChoiceSerializer(StrictSerializer):
    """A named startup command; the first is the default."""

    name = serializers.CharField(read_only=True)
    command = serializers.CharField(read_only=True)


class VariableSerializer(StrictSerializer):
    """A variable."""

    env_variable = serializers.CharField(read_only=True)
    name = serializers.CharField(read_only=True)
    description = serializers.CharField(read_only=True)
    default_value = serializers.CharField(read_only=True)
    user_viewable = serializers.BooleanField(read_only=True)
    user_editable = serializers.BooleanField(read_only=True)
    rules = serializers.ListField(child=serializers.CharField(), read_only=True)


class EggPortSerializer(StrictSerializer):
    """A port; `container` 0: the server listens on the port it is told (SERVER_PORT)."""

    container = serializers.IntegerField(read_only=True)
    protocol = serializers.CharField(read_only=True)


class EggDetailSerializer(EggSerializer):
    """An egg with what one needs to deploy it."""

    current = VersionSerializer(read_only=True, allow_null=True)
    docker_images = ImageChoiceSerializer(many=True, read_only=True)
    startup_commands = StartupChoiceSerializer(many=True, read_only=True)
    variables = VariableSerializer(many=True, read_only=True)
    ports = EggPortSerializer(many=True, read_only=True)
    features = serializers.ListField(child=serializers.CharField(), read_only=True)
    startup_done = serializers.ListField(child=serializers.CharField(allow_blank=True), read_only=True)
    stop = serializers.CharField(read_only=True, allow_blank=True)
    runs = serializers.ChoiceField(choices=["startup", "image"], read_only=True, help_text="image: it starts as its image does.")
    notes = serializers.CharField(read_only=True, allow_blank=True, help_text="Plain text for people.")
    has_install_script = serializers.BooleanField(read_only=True)
    update_url = serializers.CharField(read_only=True)

    class Meta(EggSerializer.Meta):
        fields = [
            *EggSerializer.Meta.fields, "current", "docker_images", "startup_commands", "variables", "ports", "features", "startup_done", "stop",
            "runs", "notes", "has_install_script", "update_url",
        ]  # fmt: skip
        read_only_fields = fields

    @staticmethod
    def of(egg: Egg, *, manager: bool) -> dict[str, Any]:
        """The answer for an egg that has a current version; hidden variables only for a manager."""
        assert egg.current is not None
        definition = EggDefinition.from_json(egg.current.definition)
        shown = [variable for variable in definition.effective_variables() if manager or variable.user_viewable]
        return {
            **EggSerializer(egg).data,
            "current": VersionSerializer(egg.current).data,
            "docker_images": [{"label": label, "image": image} for label, image in definition.docker_images],
            "startup_commands": [{"name": name, "command": command} for name, command in definition.startup_commands],
            "variables": [VariableSerializer(variable).data for variable in shown],
            "ports": [EggPortSerializer(port).data for port in definition.ports],
            "features": definition.features,
            "startup_done": definition.startup_done,
            "stop": definition.stop,
            "runs": definition.runs,
            "notes": definition.notes,
            "has_install_script": bool(definition.install.script),
            "update_url": definition.update_url,
        }


class EggLabelsSerializer(StrictSerializer):
    """`PATCH /api/eggs/{id}`: what the library files an egg under."""

    category = serializers.CharField(max_length=64, allow_blank=True, required=False)
    tags = serializers.ListField(child=serializers.CharField(max_length=64), max_length=64, required=False)


class UseVersionSerializer(StrictSerializer):
    """Which version new containers get."""

    number = serializers.IntegerField(min_value=1)


class ChangeSerializer(StrictSerializer):
    """One difference between two versions."""

    section = serializers.ChoiceField(choices=["image", "startup", "variable", "file", "install", "privilege", "other"], read_only=True)
    what = serializers.CharField(read_only=True)
    kind = serializers.ChoiceField(choices=["added", "removed", "changed"], read_only=True)
    before = serializers.CharField(read_only=True, allow_blank=True)
    after = serializers.CharField(read_only=True, allow_blank=True)
    lines = serializers.ListField(child=serializers.CharField(allow_blank=True), read_only=True, help_text="A unified diff of a longer text.")


class DiffSerializer(StrictSerializer):
    """What differs."""

    old = serializers.IntegerField(read_only=True)
    new = serializers.IntegerField(read_only=True)
    changes = ChangeSerializer(many=True, read_only=True)


class SkippedSerializer(StrictSerializer):
    """What a file held that was left out."""

    name = serializers.CharField(read_only=True)
    code = serializers.CharField(read_only=True)
    message = serializers.CharField(read_only=True)


class ImportedSerializer(StrictSerializer):
    """What came in."""

    eggs = EggSerializer(many=True, read_only=True)
    warnings = WarningSerializer(many=True, read_only=True)
    skipped = SkippedSerializer(many=True, read_only=True)


class PreviewRequestSerializer(StrictSerializer):
    """Values to try."""

    values = serializers.DictField(
        child=serializers.CharField(allow_blank=True, trim_whitespace=False, max_length=MAX_VALUE_BYTES), required=False, default=dict
    )
    image = serializers.CharField(max_length=255, required=False, allow_null=True, default=None)
    startup = serializers.CharField(max_length=191, required=False, allow_null=True, default=None, help_text="Name of one of the egg's commands.")
    memory_bytes = serializers.IntegerField(min_value=0, max_value=2**50, required=False, default=0)
    port = serializers.IntegerField(min_value=0, max_value=65535, required=False, default=0)


class ConfigFileSerializer(StrictSerializer):
    """A file that would be rewritten before each start."""

    path = serializers.CharField(read_only=True)
    parser = serializers.CharField(read_only=True)
    find = serializers.ListField(child=serializers.JSONField(), read_only=True, help_text="[key, value] pairs.")


class PreviewErrorSerializer(StrictSerializer):
    """Why a container could not be made with these values."""

    field = serializers.CharField(read_only=True)
    message = serializers.CharField(read_only=True)
    code = serializers.CharField(read_only=True)


class StopSerializer(StrictSerializer):
    """How it is asked to end."""

    signal = serializers.CharField(read_only=True)
    command = serializers.CharField(read_only=True)
    grace_seconds = serializers.FloatField(read_only=True)


class PreviewSerializer(StrictSerializer):
    """What a container would get."""

    image = serializers.CharField(read_only=True)
    startup = serializers.CharField(read_only=True, help_text="The line as people read it; hidden values are masked.")
    command = serializers.ListField(child=serializers.CharField(), read_only=True)
    entrypoint = serializers.ListField(child=serializers.CharField(), read_only=True, allow_null=True, help_text="null: the image's own.")
    startup_mode = serializers.ChoiceField(
        choices=["auto", "shell", "entrypoint"], read_only=True, help_text="auto: the node looks whether the image evaluates STARTUP by itself."
    )
    environment = serializers.DictField(child=serializers.CharField(allow_blank=True), read_only=True)
    config_files = ConfigFileSerializer(many=True, read_only=True)
    stop = StopSerializer(read_only=True)
    privileges = PrivilegeSerializer(many=True, read_only=True)
    errors = PreviewErrorSerializer(many=True, read_only=True)  # type: ignore[assignment]  # the metaclass takes it out of the class
