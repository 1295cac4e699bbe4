from django.db import migrations


def give_members_theirs(apps, schema_editor):
    """A panel that is there already: members get what a new panel's begin with (accounts/capabilities.py). What they have stays; only more is refused.
    A fresh panel has no roles yet: seeding does it."""
    Quota, Role = apps.get_model("accounts", "Quota"), apps.get_model("accounts", "Role")
    for role in Role.objects.filter(slug="member", built_in=True):
        Quota.objects.create(role=role, containers=5, cpus=5.0, memory_bytes=8 * 1024**3, disk_bytes=20 * 1024**3)


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0005_quotas'),
    ]

    operations = [
        migrations.RunPython(give_members_theirs, migrations.RunPython.noop, elidable=True),
    ]
