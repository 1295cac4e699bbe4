"""Steps from older formats up to the newest form: `docker_images` and `startup_commands` are maps of text."""

from __future__ import annotations

from typing import Any

from eggs.problems import Warnings

Raw = dict[str, Any]


def _labelled(images: Any) -> dict[str, Any]:
    """A map as it is, a list by its own values (so that duplicates collapse)."""
    if isinstance(images, dict):
        return dict(images)
    return {str(image): image for image in images if image not in (None, "")}


def images_to_map(raw: Raw, *, version: str, warnings: Warnings) -> Raw:
    """`docker_images` (map or list), else `images`, else `image` (unless it is a picture)."""
    made = dict(raw)
    found, old = raw.get("docker_images"), version == "PTDL_v1"
    if isinstance(found, dict | list) and found:
        if isinstance(found, list):
            warnings.add("W_IMAGES_LIST", "docker_images is a list, not a map.")
        made["docker_images"] = _labelled(found)
        return made
    images, image = raw.get("images"), raw.get("image")
    if isinstance(images, str) and images.strip():
        warnings.add("W_IMAGES_STRING", "images is one text, not a list.")
        images = [images]
    if not (isinstance(images, list | dict) and images):
        images = [image] if isinstance(image, str) and image.strip() and not image.startswith("data:") else None
    if not images:
        return {**made, "docker_images": {}}  # refused in its turn
    if not old:
        warnings.add("W_IMAGES_FALLBACK", "docker_images is missing; images or image was taken.")
    made["docker_images"] = _labelled(images)
    return made


def startup_to_map(raw: Raw, *, version: str, warnings: Warnings) -> Raw:
    """`startup` becomes `startup_commands.Default`."""
    startup = raw.get("startup")
    commands = {"Default": startup} if isinstance(startup, str) and startup.strip() else {}
    return {**raw, "startup_commands": commands}


def startup_fallback(raw: Raw, *, version: str, warnings: Warnings) -> Raw:
    """The newest form, where somebody left `startup` behind."""
    commands = raw.get("startup_commands")
    if isinstance(commands, dict) and any(isinstance(value, str) and value.strip() for value in commands.values()):
        return raw
    made = startup_to_map(raw, version=version, warnings=warnings)
    if made["startup_commands"]:
        warnings.add("W_STARTUP_FALLBACK", "startup_commands is missing; startup was taken.")
    return made


def restored(raw: Raw, *, version: str, warnings: Warnings) -> Raw:
    """What our own export had to write differently for other panels, as it was; it is checked afterwards like everything else."""
    ours = raw.get("lormas")
    found = ours.get("restore") if isinstance(ours, dict) else None
    if not isinstance(found, dict):
        return raw
    made = {**raw, **{key: found[key] for key in ("tags", "icon", "author", "startup_commands") if key in found}}
    config, scripts, variables = raw.get("config"), raw.get("scripts"), raw.get("variables")
    if "stop" in found and isinstance(config, dict):
        made["config"] = {**config, "stop": found["stop"]}
    installation = scripts.get("installation") if isinstance(scripts, dict) else None
    if "install_container" in found and isinstance(installation, dict):
        made["scripts"] = {"installation": {**installation, "container": found["install_container"]}}
    changes = found.get("variables")
    if isinstance(changes, list) and isinstance(variables, list):
        made["variables"] = [dict(entry) if isinstance(entry, dict) else entry for entry in variables]
        for change in changes:
            number = change.get("index") if isinstance(change, dict) else None
            if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(variables):
                continue
            entry = made["variables"][number]
            if isinstance(entry, dict) and entry.get("env_variable") == change.get("of"):
                entry.update({key: change[key] for key in ("env_variable", "name", "rules", "sort") if key in change})
    return made
