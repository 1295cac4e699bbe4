"""Importing: the same file again changes nothing, the same uuid with other content makes a version, and it is all in the journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models import ProtectedError

from audit.models import Entry
from audit.services import SYSTEM
from eggs.models import Egg, EggVersion
from eggs.services import BUNDLED, delete_egg, import_bundled, import_egg
from tests.eggs.conftest import egg_file, encoded

pytestmark = pytest.mark.django_db
UUID = "3885c37c-f1da-4979-860d-4c200a8ca564"


def test_the_same_file_again_changes_nothing(imported: Any) -> None:
    first = imported(uuid=UUID)
    again = imported(uuid=UUID, exported_at="2030-01-01T00:00:00Z", _comment="another day")
    assert (again.pk, EggVersion.objects.count()) == (first.pk, 1)
    assert Entry.objects.filter(action="eggs.import").count() == 1
    assert imported().pk == imported().pk, "a file without a uuid is known by its content"


def test_the_same_uuid_with_other_content_is_the_next_version(imported: Any) -> None:
    first = imported(uuid=UUID)
    second = imported(uuid=UUID, name="Renamed", startup="./other")
    assert (second.pk, second.name, second.current.number) == (first.pk, "Renamed", 2)
    assert EggVersion.objects.get(egg=first, number=1).definition["name"] == "Small", "a version never changes"
    assert imported(name="Other").pk != first.pk


def test_a_refused_file_leaves_nothing(db: None) -> None:
    with pytest.raises(Exception, match="startup"):
        import_egg(encoded(egg_file(startup="")), filename="egg.json")
    assert not Egg.objects.exists()


def test_an_egg_goes_with_its_versions_unless_something_is_made_of_it(imported: Any, alice: Any) -> None:
    egg = imported(uuid=UUID)
    imported(uuid=UUID, startup="./other")
    egg.refresh_from_db()
    from containers.models import Container

    container = Container.objects.create(name="c", owner=alice, egg=egg, egg_version=egg.current, image="x")
    with pytest.raises(ProtectedError):
        delete_egg(Egg.objects.get(), actor=SYSTEM)
    egg.refresh_from_db()
    assert egg.current is not None
    container.delete()
    delete_egg(Egg.objects.get(), actor=SYSTEM)
    assert not Egg.objects.exists()
    assert not EggVersion.objects.exists()
    assert Entry.objects.filter(action="eggs.delete").count() == 1


def test_bundled_eggs_come_once_and_a_start_takes_nothing_back(db: None) -> None:
    first = import_bundled()
    assert 8 <= len({egg.name for egg in first}) <= 12
    assert {"Hello page", "Python web app", "Shell worker"} < {egg.name for egg in first}
    assert all(egg.is_bundled and egg.current.warnings == [] for egg in first)
    changed = BUNDLED.joinpath("hello.json").read_bytes().replace(b"The headline of the page.", b"Changed here.")
    import_egg(changed, filename="hello.json")
    import_bundled()
    assert EggVersion.objects.count() == len(first) + 1
    assert Egg.objects.get(name="Hello page").current.number == 2


def test_the_command_takes_files_and_folders_and_names_what_it_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_bytes(encoded(egg_file()))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.json").write_bytes(encoded(egg_file(startup=None)))
    (tmp_path / "sub" / "readme.txt").write_text("no egg")
    with pytest.raises(CommandError, match="1 of 2"):
        call_command("import_eggs", str(tmp_path))
    out, err = capsys.readouterr()
    assert "a.json: Small, new" in out
    assert "1 new eggs" in out
    assert "E_STARTUP" in err
    with pytest.raises(CommandError, match="no file"):
        call_command("import_eggs", str(tmp_path / "nothing"))
    call_command("import_eggs", str(tmp_path / "a.json"))
    assert Egg.objects.count() == 1
