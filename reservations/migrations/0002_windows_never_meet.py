"""The guard against double booking: see reservations.guard."""

from django.db import migrations

from reservations import guard


class Migration(migrations.Migration):
    dependencies = [("reservations", "0001_initial")]
    operations = [
        migrations.RunPython(
            lambda apps, schema_editor: guard.install(schema_editor.connection), lambda apps, schema_editor: guard.remove(schema_editor.connection)
        ),
    ]
